"""Editing from the command line: without torch, through pipes, never over a file unasked."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ecdc.codec.bundled import BUNDLED, bundled_names, read_config


@pytest.fixture(scope="module")
def coded(ecdc, default, tmp_path_factory):
    """Six seconds of speech and its decoding."""
    folder = tmp_path_factory.mktemp("edit")
    clip = Path(__file__).parents[2] / "bench" / "clips" / "speech_it.flac"
    ecdc("encode", clip, "-o", folder / "a.ecdc", "--effort", 0, check=True)
    ecdc("encode", clip, "-o", folder / "low.ecdc", "--effort", 0, "--kbps", 3, check=True)
    ecdc("decode", folder / "a.ecdc", "--rate", default.sample_rate, check=True)  # resamplers start at some phase
    return folder


def test_peel_equals_encoding_at_the_lower_rate(ecdc, coded, tmp_path):
    ecdc("peel", coded / "a.ecdc", "--kbps", 3, "-o", tmp_path / "b.ecdc", check=True)
    wanted = (coded / "low.ecdc").read_bytes()
    assert (tmp_path / "b.ecdc").read_bytes() == wanted
    assert ecdc("peel", "-", "--kbps", 3, "-o", "-", stdin=(coded / "a.ecdc").read_bytes(), check=True).stdout == wanted


@pytest.mark.parametrize("model", bundled_names())
def test_cut_decodes_to_the_span(ecdc, speech, tmp_path, model):
    """Sample by sample; where a decoder adds noise by the frame's number, with other noise of the same level."""
    config = read_config(BUNDLED / model)
    kind = config.architecture
    rate, has_noise = config.sample_rate, kind.kind == "split" or kind.random_sign_bin > 0
    ecdc("encode", speech, "--model", model, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("decode", tmp_path / "a.ecdc", "--rate", rate, check=True)
    ecdc("cut", tmp_path / "a.ecdc", "--start", "0:03.21", "--duration", 1.5, "-o", tmp_path / "b.ecdc", check=True)
    ecdc("decode", tmp_path / "b.ecdc", "--rate", rate, check=True)
    part = soundfile.read(tmp_path / "b.wav", dtype="int16")[0].astype(int)
    begin = round(3.21 * rate)
    span = soundfile.read(tmp_path / "a.wav", dtype="int16")[0].astype(int)[begin : begin + len(part)]
    assert len(part) == len(span) == round(1.5 * rate)
    if has_noise:
        assert np.abs(levels_db(part, rate) - levels_db(span, rate)).max() < 1
    else:
        assert np.abs(part - span).max() <= 1
    piped = ecdc("decode", "-", "-o", "-", "--rate", rate, stdin=(tmp_path / "b.ecdc").read_bytes(), check=True)
    assert piped.stdout[44:] == soundfile.read(tmp_path / "b.wav", dtype="int16")[0].tobytes()


def levels_db(audio, rate):
    """Level of each octave from 125 Hz to 8 kHz."""
    power, frequency = np.abs(np.fft.rfft(audio)) ** 2, np.fft.rfftfreq(len(audio), 1 / rate)
    octaves = [(frequency >= low) & (frequency < 2 * low) for low in 125 * 2 ** np.arange(6)]
    return np.array([10 * np.log10(power[octave].sum()) for octave in octaves])


def test_cut_takes_a_pipe(ecdc_process, coded, tmp_path):
    data = (coded / "a.ecdc").read_bytes()
    done = ecdc_process("cut", "-", "--start", "3", "--duration", "1.5", "-o", "-", stdin=data, check=True)
    (tmp_path / "b.ecdc").write_bytes(done.stdout)
    about = json.loads(ecdc_process("info", tmp_path / "b.ecdc", "--json", check=True).stdout)
    assert about["seconds"] == 1.5 and about["whole"]
    past = ecdc_process("cut", "-", "--start", "60", "-o", tmp_path / "c.ecdc", stdin=data)
    assert past.returncode == 1 and b"lasts 6.000 s" in past.stderr and not (tmp_path / "c.ecdc").exists()


def test_cat_and_tag(ecdc, coded, default, tmp_path):
    ecdc("cat", coded / "a.ecdc", coded / "low.ecdc", "-o", tmp_path / "b.ecdc", check=True)
    ecdc("tag", tmp_path / "b.ecdc", "--set", "title=two times", "-o", tmp_path / "c.ecdc", check=True)
    assert ecdc("tag", tmp_path / "c.ecdc", check=True).stdout == b"title=two times\n"
    about = json.loads(ecdc("info", tmp_path / "c.ecdc", "--json", check=True).stdout)
    assert about["codebooks"] == [[kbps / default.bitrates_kbps[0]] for kbps in (3, 6)]
    assert about["seconds"] == pytest.approx(12, abs=0.02)
    ecdc("decode", tmp_path / "c.ecdc", check=True)
    ecdc("tag", tmp_path / "c.ecdc", "--remove", "title", "-o", tmp_path / "d.ecdc", check=True)
    assert (tmp_path / "d.ecdc").read_bytes() == (tmp_path / "b.ecdc").read_bytes()
    ecdc("verify", *(tmp_path / f"{name}.ecdc" for name in "bcd"), check=True)


def test_outputs_are_guarded(ecdc, coded, tmp_path, one_line):
    (tmp_path / "b.ecdc").write_bytes(b"mine")
    (tmp_path / "cut.ecdc").write_bytes((coded / "a.ecdc").read_bytes()[:-30])
    for args, message in [
        (("peel", coded / "a.ecdc", "--kbps", 3, "-o", tmp_path / "b.ecdc"), "use --force"),
        (("peel", coded / "a.ecdc", "--kbps", 0.2, "-o", tmp_path / "c.ecdc"), "lowest bitrate of this file is 0."),
        (("cut", coded / "a.ecdc", "--start", 60, "-o", tmp_path / "c.ecdc"), "lasts 6.000 s"),
        (("cat", "-", "-", "-o", tmp_path / "c.ecdc"), "can be read only once"),
        (("cat", tmp_path / "cut.ecdc", "-o", tmp_path / "c.ecdc"), "cut.ecdc: byte "),
        (("cat", tmp_path / "b.ecdc", "-o", tmp_path / "c.ecdc"), "not an .ecdc stream"),
        (("cat", tmp_path / "none.ecdc", "-o", tmp_path / "c.ecdc"), "No such file"),
    ]:
        assert message in one_line(ecdc(*args))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.ecdc", "cut.ecdc"]
    assert (tmp_path / "b.ecdc").read_bytes() == b"mine"


def test_of_several_files_the_one_at_fault_is_named(ecdc, coded, tmp_path, one_line):
    whole, cut, text, other = coded / "a.ecdc", *(tmp_path / f"{name}.ecdc" for name in ("cut", "text", "other"))
    cut.write_bytes(whole.read_bytes()[:-30])
    text.write_bytes(b"mine")
    ecdc("encode", coded / "a.wav", "--model", "nano-24k", "-o", other, check=True)
    for bad, message in [(cut, "needs"), (text, "not an .ecdc stream"), (other, "the codes are of nano-24k")]:
        for inputs in ((whole, bad), (whole, "-")):
            said = one_line(ecdc("cat", *inputs, "-o", tmp_path / "b.ecdc", stdin=bad.read_bytes()))
            name = bad if inputs[1] == bad else "standard input"
            assert said.startswith(f"ecdc: {name}: byte ") and message in said, said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.ecdc", "other.ecdc", "text.ecdc"]


def test_editing_needs_no_torch(imports, coded, tmp_path):
    edits = ["peel", "--kbps", "3"], ["cut", "--start", "1"], ["cat"], ["tag", "--set", "a=b"], ["repair"]
    targets = [tmp_path / f"{words[0]}.ecdc" for words in edits]
    commands = [(*words, coded / "a.ecdc", "-o", target) for words, target in zip(edits, targets, strict=True)]
    assert imports("torch soundfile", *commands) == [] and all(target.exists() for target in targets)


def test_tags_travel_through_the_container(ecdc, tone, tmp_path):
    """From FLAC to the container, through edits, and into every output."""
    from ecdc.codec.audio_in import AudioSource
    from ecdc.codec.tags import write_tags

    audio, rate = soundfile.read(tone)
    soundfile.write(tmp_path / "in.flac", audio, rate)
    tags = [("title", "A"), ("artist", "Ann"), ("artist", "Bob"), ("comment", "c")]
    write_tags(tmp_path / "in.flac", "flac", tags)
    ecdc("encode", tmp_path / "in.flac", check=True)
    ecdc("peel", tmp_path / "in.ecdc", "--kbps", 3, "-o", tmp_path / "b.ecdc", check=True)
    ecdc("tag", tmp_path / "b.ecdc", "--set", "album=X", "--set", "album=Y", "--remove", "comment", check=True)
    wanted = [("title", "A"), ("artist", "Ann"), ("artist", "Bob"), ("album", "X"), ("album", "Y")]
    assert ecdc("tag", tmp_path / "b.ecdc", check=True).stdout.decode().split() == [f"{k}={v}" for k, v in wanted]
    for suffix in ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aiff"):
        ecdc("decode", tmp_path / "b.ecdc", "-o", tmp_path / f"out.{suffix}", check=True)
        with AudioSource(tmp_path / f"out.{suffix}") as source:
            assert sorted(source.tags()) == sorted(wanted), suffix


def test_tags_are_changed_in_place_or_not_at_all(ecdc, coded, tmp_path, one_line):
    path = tmp_path / "a.ecdc"
    path.write_bytes((coded / "a.ecdc").read_bytes())
    path.chmod(0o640)
    (tmp_path / "link.ecdc").symlink_to(path)
    ecdc("tag", tmp_path / "link.ecdc", "--set", "title=T", check=True)
    assert (tmp_path / "link.ecdc").is_symlink() and path.stat().st_mode & 0o777 == 0o640
    assert ecdc("tag", path, check=True).stdout == b"title=T\n"
    ecdc("verify", path, check=True)
    path.write_bytes(path.read_bytes()[:-30])
    before = path.read_bytes()
    one_line(ecdc("tag", path, "--set", "title=U"))
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["a.ecdc", "link.ecdc"]
    assert ecdc("tag", "-", "--set", "a=b", stdin=before).returncode == 2
