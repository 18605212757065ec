"""Bad input: one clear line, the right exit code, nothing partial, nothing overwritten."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from ecdc.format.crc import crc32c


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def write(path, data, rate=24_000, **options):
    soundfile.write(path, np.asarray(data, dtype=np.float32), rate, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_text("plain text, not audio"), "not audio"),
        (lambda p: write(p, np.zeros(0)), "holds no samples"),
        (lambda p: write(p, [0.1, np.nan, 0.2], subtype="FLOAT"), "not a finite number"),
    ],
    ids=["missing", "empty", "text", "no samples", "NaN"],
)
def test_bad_audio(ecdc, tmp_path, make, message, one_line):
    source = tmp_path / "in.wav"
    make(source)
    before = files(tmp_path)
    line = one_line(ecdc("encode", source))
    assert message in line and "in.wav" in line
    assert files(tmp_path) == before


@pytest.mark.parametrize("rate", [8000, 192_000])
@pytest.mark.parametrize("n_samples", [1, 4000])
def test_odd_but_legal_audio(ecdc, tmp_path, rate, n_samples):
    write(tmp_path / "in.wav", 0.1 * np.ones(n_samples), rate)
    ecdc("encode", tmp_path / "in.wav", check=True)
    ecdc("decode", tmp_path / "in.ecdc", "-o", tmp_path / "out.wav", check=True)
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.frames, info.samplerate) == (n_samples, rate)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("effort", [0, 4])
def test_samples_far_beyond_full_scale_are_coded_without_a_word(ecdc, tmp_path, effort):
    audio = 0.1 * np.random.default_rng(0).standard_normal(9600)
    audio[[3000, 7000]] = 1e15, -1e30
    write(tmp_path / "in.wav", audio, 48_000, subtype="FLOAT")
    ecdc("encode", tmp_path / "in.wav", "--effort", effort, "--quiet", check=True)
    ecdc("decode", tmp_path / "in.ecdc", "-o", tmp_path / "out.wav", check=True)
    assert np.abs(soundfile.read(tmp_path / "out.wav")[0][:960]).max() < 1  # the sound before them is as it was


def test_existing_output_is_kept(ecdc, tone, one_line):
    target = tone.with_suffix(".ecdc")
    target.write_bytes(b"precious")
    assert "--force" in one_line(ecdc("encode", tone))
    assert target.read_bytes() == b"precious"
    ecdc("encode", tone, "--force", check=True)
    assert target.read_bytes()[:4] == b"ECDC"


def test_output_over_input_is_refused(ecdc, tone, one_line):
    before = tone.read_bytes()
    assert "is the input itself" in one_line(ecdc("encode", tone, "-o", tone, "--force"))
    assert tone.read_bytes() == before


def test_two_inputs_for_one_output(ecdc, tone, one_line):
    other = tone.with_suffix(".flac")
    other.write_bytes(tone.read_bytes())
    assert "two inputs" in one_line(ecdc("encode", tone, other))


def test_one_bad_file_does_not_stop_the_others(ecdc, tone, tmp_path, one_line):
    (tmp_path / "bad.wav").write_text("nothing")
    done = ecdc("encode", tmp_path / "bad.wav", tone, "--quiet")
    assert "bad.wav" in one_line(done)
    assert tone.with_suffix(".ecdc").exists()


def test_folder_without_audio(ecdc, tmp_path, one_line):
    assert "no file to process" in one_line(ecdc("encode", tmp_path))


@pytest.mark.parametrize("model", ["nano-25k", "/no/such/folder"])
def test_unknown_model(ecdc, tone, model, one_line):
    line = one_line(ecdc("encode", tone, "--model", model))
    assert model in line
    assert not tone.with_suffix(".ecdc").exists()


def test_rate_below_the_lowest(ecdc, tone, default, one_line):
    each = default.bitrates_kbps[0]
    line = one_line(ecdc("encode", tone, "--kbps", each))  # of two channels
    assert f"starts at {2 * each:g} kbps" in line and "legal" in line


@pytest.mark.parametrize(("options", "channels"), [([], 2), (["--channels", "mono"], 1), (["--vbr"], 2)])
def test_a_rate_above_the_highest_is_told(ecdc, tone, default, options, channels):
    highest = channels * default.bitrates_kbps[-1]
    for kbps, told in ((highest, False), (highest + 1, True)):
        arguments = ("-o", tone.parent / "a.ecdc", "--force", "--effort", 0, *options)
        done = ecdc("encode", tone, "--kbps", kbps, *arguments, check=True)
        lines = done.stderr.decode().splitlines()
        name = default.name + (" in stereo" if channels == 2 else "")
        line = f"ecdc: {tone}: the highest bitrate of {name} is {highest:g} kbps; it is used instead of {kbps:g}"
        assert (lines[0] == line) is told
        assert len(lines) == 1 + told
        assert not ecdc("encode", tone, "--kbps", kbps, *arguments, "--quiet", check=True).stderr


def test_audio_given_to_decode_is_told_what_makes_tokens_of_it(ecdc, speech, tone, one_line, tmp_path):
    (tmp_path / "a.ecdc").write_bytes(b"no audio either")
    for path, is_audio in ((speech, True), (tone, True), (tmp_path / "a.ecdc", False)):
        line = one_line(ecdc("decode", path, "-o", tmp_path / "out.wav"))
        assert "not an .ecdc stream" in line and line.endswith("; `ecdc encode` turns audio into .ecdc files") is is_audio


@pytest.mark.parametrize("option", [["--kbps", "fast"], ["--channels", "5.1"], ["--no-such"], []])
def test_wrong_usage_exits_2(ecdc, option):
    done = ecdc("encode", *option)
    assert done.returncode == 2 and b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "byte 0"),
        (b"RIFF1234WAVE", "not an .ecdc stream"),
        (b"ECDC\x07" + bytes(40), "version 7"),
        (b"ECDC\x01\x00", "needs"),
    ],
    ids=["empty", "foreign", "version", "short"],
)
def test_foreign_streams(ecdc, tmp_path, data, message, one_line):
    (tmp_path / "a.ecdc").write_bytes(data)
    for command in ("decode", "info"):
        line = one_line(ecdc(command, tmp_path / "a.ecdc"))
        assert message in line and "a.ecdc" in line
    assert files(tmp_path) == ["a.ecdc"]


def test_truncated_and_damaged_streams(ecdc, tone, tmp_path, one_line):
    ecdc("encode", tone, "-o", tmp_path / "whole.ecdc", check=True)
    data = (tmp_path / "whole.ecdc").read_bytes()
    (tmp_path / "cut.ecdc").write_bytes(data[:-20])
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    (tmp_path / "flipped.ecdc").write_bytes(flipped)
    before = files(tmp_path)
    for name in ("cut", "flipped"):
        assert f"{name}.ecdc: byte " in one_line(ecdc("decode", tmp_path / f"{name}.ecdc"))
    assert files(tmp_path) == before


def resealed_header(data, at, value):
    """The stream with other bytes in its header, under a valid CRC."""
    size = int.from_bytes(data[6:8], "little")
    head = bytearray(data[: size - 4])
    head[at : at + len(value)] = value
    return bytes(head) + crc32c(bytes(head)).to_bytes(4, "little") + data[size:]


def test_six_ways_to_refuse_a_stream(ecdc, tone, tmp_path, one_line):
    """Each has a message of its own that tells the byte; nothing is written."""
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    data = (tmp_path / "a.ecdc").read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    cases = {
        "not an .ecdc stream": b"fLaC" + data[4:],
        "version 9": data[:4] + b"\x09" + data[5:],
        "remain": data[:-20],
        "CRC": bytes(flipped),
        "sample_rate": resealed_header(data, 8, (1 << 25).to_bytes(4, "little")),
        "the codes are of": resealed_header(data, 60, bytes(32)),
    }
    before = files(tmp_path)
    lines = set()
    for message, broken in cases.items():
        (tmp_path / "a.ecdc").write_bytes(broken)
        line = one_line(ecdc("decode", tmp_path / "a.ecdc", "-o", tmp_path / "out.wav"))
        assert message in line and "a.ecdc: byte " in line, line
        lines.add(line)
    assert len(lines) == len(cases) and files(tmp_path) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(ecdc, tone, one_line):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "ecdc.cli", "encode", str(tone), "-o", "-", "--quiet"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=os.environ)
    assert "no space left" in one_line(done).lower()


def test_reader_that_stops_early_is_no_error_message(ecdc, speech):
    run = f"'{sys.executable}' -m ecdc.cli encode '{speech}' -o - --quiet | head -c 10 | wc -c"
    done = subprocess.run(run, shell=True, capture_output=True, env=os.environ)
    assert done.stdout.strip() == b"10" and b"Traceback" not in done.stderr


def test_interrupt_leaves_nothing(tmp_path):
    """An endless stream on stdin, stopped by Ctrl-C."""
    target = tmp_path / "a.ecdc"
    command = [sys.executable, "-m", "ecdc.cli", "encode", "-", "-o", str(target), "--quiet"]
    # A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, preexec_fn=heed)
    header = soundfile_header()
    child.stdin.write(header + bytes(2 * 24_000 * 40))
    child.stdin.flush()
    deadline = time.monotonic() + 120
    while not any(p.name.endswith(".partial") for p in tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130 and b"Traceback" not in stderr
    assert b"interrupted" in stderr
    assert files(tmp_path) == []


def soundfile_header():
    from ecdc.codec.audio import wave_header

    return wave_header(24_000, 1, None)


def test_every_way_in(ecdc, tone, tmp_path):
    ways = ["ENCODE <(cat TONE)", "cat TONE | ENCODE /dev/stdin", "cat TONE | ENCODE -"]
    children = []
    for i, way in enumerate(ways):
        encode = f"'{sys.executable}' -m ecdc.cli encode --stereo mid_side -o '{tmp_path}/{i}.ecdc' --quiet"
        run = way.replace("ENCODE", encode).replace("TONE", f"'{tone}'")
        children.append(subprocess.Popen(["bash", "-c", run], env=os.environ))
    ecdc("encode", tone, "--stereo", "mid_side", "-o", tmp_path / "b.ecdc", check=True)
    wanted = (tmp_path / "b.ecdc").read_bytes()[-200:-100]
    for i, child in enumerate(children):
        assert child.wait(120) == 0 and (tmp_path / f"{i}.ecdc").read_bytes()[-200:-100] == wanted, ways[i]


def test_closed_standard_input(tmp_path):
    run = f"'{sys.executable}' -m ecdc.cli encode - -o '{tmp_path}/a.ecdc' <&-"
    done = subprocess.run(run, shell=True, capture_output=True, env=os.environ)
    assert done.returncode == 1 and done.stderr.decode().splitlines()[-1].endswith("standard input: is closed")
    assert b"Traceback" not in done.stderr and files(tmp_path) == []


def test_debug_shows_where_an_error_comes_from(tmp_path):
    (tmp_path / "a.ecdc").write_bytes(b"no file of ours")
    for options, shown in (((), False), (("--debug",), True)):
        done = subprocess.run(
            [sys.executable, "-m", "ecdc.cli", *options, "info", "a.ecdc"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 1 and ("Traceback" in done.stderr) == shown and "a.ecdc" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["decode", "cut", "peel", "tag", "info", "verify", "repair"])
def test_standard_input_is_named(ecdc, tone, command, one_line, tmp_path):
    """As a file is, whether it is cut off, foreign or empty."""
    data = ecdc("encode", tone, "-o", "-", check=True).stdout
    options = {"peel": ["--kbps", "3"], "tag": ["--set", "a=b"]}.get(command, [])
    output = [] if command in ("info", "verify") else ["-o", tmp_path / "out.wav"]
    for bad in (data[:-40], data[:3], b"RIFF and more", b""):
        if command in ("info", "repair") and bad == data[:-40]:
            continue  # these take what is there
        line = one_line(ecdc(command, "-", *options, *output, stdin=bad))
        assert line.startswith("ecdc: standard input: byte "), line
        assert ("--partial" in line) is (len(bad) > 100) and ("is empty" in line) is (not bad), line
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("command", ["encode", "decode", "info", "verify", "cut", "corpus", "generate"])
def test_an_empty_argument_does_not_mean_this_folder(ecdc, tone, command, monkeypatch):
    """As `ecdc encode "$NAME"` has without a variable of this name."""
    monkeypatch.chdir(tone.parent)
    before = files(tone.parent)
    for args in ([""], [tone, "-o", ""], ["encode", "", "--output", tone.parent / "tokens"]):
        done = ecdc(command, *args)
        assert done.returncode == 2 and b"an argument is empty" in done.stderr, done.stderr
    assert files(tone.parent) == before


@pytest.mark.parametrize("command", ["encode", "decode", "peel", "generate", "corpus encode", "live send"])
def test_help_shows_no_bound_that_is_not_there(ecdc, command):
    text = ecdc(*command.split(), "--help", check=True).stdout
    assert b"FLOAT" in text and b"None]" not in text and b"None;" not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["encdoe", "a.wav"], "ecdc: no such command 'encdoe'; did you mean 'encode'?"),
        (["xyzzy"], "ecdc: no such command 'xyzzy'; see 'ecdc --help'"),
        (["Encode"], "ecdc: no such command 'Encode'; did you mean 'encode'?"),
        (["corpus", "encdoe", "x"], "ecdc corpus: no such command 'encdoe'; did you mean 'encode'?"),
        (["encode", "a.wav", "--kbsp", "6"], "ecdc encode: no such option '--kbsp'; did you mean '--kbps'?"),
        (["peel", "a.ecdc", "--kpbs", "3"], "ecdc peel: no such option '--kpbs'; did you mean '--kbps'?"),
        (["encode", "a.wav", "-z"], "ecdc encode: no such option '-z'; see 'ecdc encode --help'"),
        (["decode", "a.ecdc", "--hlep"], "ecdc decode: no such option '--hlep'; did you mean '--help'?"),
        (["--debgu", "info"], "ecdc: no such option '--debgu'; did you mean '--debug'?"),
        (["enc\x1bode"], "ecdc: no such command 'enc\\x1bode'; did you mean 'encode'?"),
    ],
)  # fmt: skip
def test_a_mistyped_word_costs_one_line(ecdc, one_line, words, line):
    assert one_line(ecdc(*words), code=2) == line
