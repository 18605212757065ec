"""encode and decode: names, pipes, folders, channels, rates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


def test_names_are_inferred(ecdc, tone):
    ecdc("encode", tone, check=True)
    coded = tone.with_suffix(".ecdc")
    assert coded.exists()
    tone.unlink()
    ecdc("decode", coded, check=True)
    info = soundfile.info(tone)
    assert (info.frames, info.samplerate, info.channels) == (22_050, 44_100, 2)


def test_pipes_give_the_same_bytes_as_files(ecdc, ecdc_process, tone, tmp_path):
    how = ("--stereo", "mid_side")  # which is not chosen on a pipe
    ecdc("encode", tone, *how, "-o", tmp_path / "a.ecdc", check=True)
    piped = ecdc_process("encode", "-", *how, "-o", "-", stdin=tone.read_bytes(), check=True)
    assert piped.stdout == (tmp_path / "a.ecdc").read_bytes()
    ecdc("decode", tmp_path / "a.ecdc", "-o", tmp_path / "a.wav", check=True)
    back = ecdc_process("decode", "-", "-o", "-", stdin=piped.stdout, check=True)
    (tmp_path / "piped.wav").write_bytes(back.stdout)
    a, b = (soundfile.read(tmp_path / name, dtype="int16")[0].astype(int) for name in ("a.wav", "piped.wav"))
    assert a.shape == b.shape and np.abs(a - b).max() <= 1  # the other process may have another number of threads


def test_shell_pipeline(tone, tmp_path):
    run = f"'{sys.executable}' -m ecdc.cli"
    out = tmp_path / "out.wav"
    command = f"{run} encode - -o - < '{tone}' | {run} decode - -o - > '{out}'"
    subprocess.run(command, shell=True, check=True, env=os.environ, stderr=subprocess.DEVNULL)
    assert soundfile.read(out)[0].shape == (22_050, 2)


def test_folders_keep_their_shape(ecdc, tone, tmp_path):
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(tone.read_bytes())
    (folder.parent / "b.wav").write_bytes(tone.read_bytes())
    (folder / "notes.txt").write_text("not audio")
    ecdc("encode", tmp_path / "in", "--output-dir", tmp_path / "out", check=True)
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert names == ["b.ecdc", "deep/a.ecdc"]


def test_json_tells_the_real_bitrate(ecdc, tone, default, tmp_path):
    done = ecdc("encode", tone, "--json", "--kbps", 3, "-o", tmp_path / "a.ecdc", check=True)
    row = json.loads(done.stdout)
    assert row["bytes"] == (tmp_path / "a.ecdc").stat().st_size
    assert row["kbps"] == pytest.approx(8 * row["bytes"] / row["seconds"] / 1000, abs=1e-3)
    assert len(row["codebooks"]) == row["channels"] == 2 and sum(row["codebooks"]) == 3 / default.bitrates_kbps[0]
    about = json.loads(ecdc("info", tmp_path / "a.ecdc", "--json", check=True).stdout)
    assert about["codec"] == default.name and about["codebooks"] == [row["codebooks"]]
    assert about["original_sample_rate"] == 44_100


@pytest.mark.parametrize(("channels", "count"), [("mono", 1), ("stereo", 2), ("keep", 2)])
def test_channels(ecdc, tone, tmp_path, channels, count):
    ecdc("encode", tone, "--channels", channels, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("decode", tmp_path / "a.ecdc", check=True)
    assert soundfile.info(tmp_path / "a.wav").channels == count


def test_output_rate_and_format(ecdc, tone, tmp_path):
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("decode", tmp_path / "a.ecdc", "--rate", 16_000, "--format", "flac", check=True)
    info = soundfile.info(tmp_path / "a.flac")
    assert info.samplerate == 16_000 and info.format == "FLAC" and info.frames == 8000


def test_quiet_says_nothing(ecdc, tone, tmp_path):
    done = ecdc("encode", tone, "--quiet", "-o", tmp_path / "a.ecdc", check=True)
    assert done.stdout == done.stderr == b""


def test_models_are_listed(ecdc, default):
    rows = [json.loads(line) for line in ecdc("models", "--json", check=True).stdout.splitlines()]
    assert "nano-24k" in [row["name"] for row in rows]
    (row,) = [row for row in rows if row["is_default"]]
    about = (default.name, float(default.frame_rate), default.n_codebooks, default.codebook_size)
    assert (row["name"], row["frame_rate"], row["codebooks"], row["codebook_size"]) == about


def test_the_models_list_says_the_rates_of_one_channel(ecdc, default):
    lines = ecdc("models", check=True).stdout.decode().splitlines()
    rates = f"{default.bitrates_kbps[0]:g} to {default.bitrates_kbps[-1]:g} kbps per channel"
    (line,) = [line for line in lines if line.startswith(default.name)]
    assert rates in line and line.endswith("(default)")


def test_info_of_several_files_has_one_paragraph_each(ecdc, tone, tmp_path):
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    one = ecdc("info", tmp_path / "a.ecdc", check=True).stdout.decode()
    assert "\n\n" not in one
    assert ecdc("info", tmp_path / "a.ecdc", tmp_path / "a.ecdc", check=True).stdout.decode() == f"{one}\n{one}"
    assert b"\n\n" not in ecdc("info", tmp_path / "a.ecdc", tmp_path / "a.ecdc", "--json", check=True).stdout


def test_help_info_and_verify_never_import_torch(ecdc, imports, tone, tmp_path):
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    helps = [(name, "--help") for name in ("encode", "decode", "info", "train")]
    others = ["--help"], ["info", "nothing.ecdc"], ["info", tmp_path / "a.ecdc"], ["verify", tmp_path / "a.ecdc"]
    assert imports("torch soundfile numba", *helps, *others) == []
    decode = "decode", tmp_path / "a.ecdc", "-o", tmp_path / "b.wav"
    assert "torch" in imports("torch", (*decode, "--runtime", "torch"))  # the check can fail


def test_bundled_speech_survives(ecdc, speech, tmp_path):
    """Not noise: the waveform is followed and the level kept."""
    ecdc("encode", speech, "--kbps", 6, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("decode", tmp_path / "a.ecdc", check=True)
    original, decoded = soundfile.read(speech)[0], soundfile.read(tmp_path / "a.wav")[0]
    assert original.shape == decoded.shape
    assert np.corrcoef(original, decoded)[0, 1] > 0.8
    assert 0.7 < decoded.std() / original.std() < 1.3


@pytest.mark.parametrize("start, first", [("1.5", 1.5), ("0:01.5", 1.5), ("0:00:02", 2), (repr(4 / 3), 4 / 3)])
def test_a_span_is_decoded(ecdc, tmp_path, start, first):
    clip = Path(__file__).parents[2] / "bench" / "clips" / "speech_it.flac"
    ecdc("encode", clip, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("decode", tmp_path / "a.ecdc", "-o", tmp_path / "whole.wav", check=True)
    ecdc("decode", tmp_path / "a.ecdc", "-o", tmp_path / "part.wav", "--start", start, "--duration", "2.25", check=True)
    whole, rate = soundfile.read(tmp_path / "whole.wav", dtype="int16")
    part, _ = soundfile.read(tmp_path / "part.wav", dtype="int16")
    begin = round(first * rate)
    assert len(part) == round(2.25 * rate)
    assert np.abs(part.astype(int) - whole[begin : begin + len(part)]).max() <= 1
    piped = ecdc("decode", "-", "-o", "-", "--start", start, "--duration", "2.25", stdin=(tmp_path / "a.ecdc").read_bytes())
    assert piped.stdout[44:] == part.tobytes()


@pytest.mark.parametrize("text", ["abc", "1:75", "-3", "1e3", "1:2:3:4"])
def test_wrong_times_are_usage_errors(ecdc, tmp_path, text):
    result = ecdc("decode", "a.ecdc", "--start", text)
    assert result.returncode == 2 and b"is not a time" in result.stderr


@pytest.mark.parametrize("n_channels", [3, 6, 24])
def test_more_channels_than_two_are_folded_and_a_line_says_so(ecdc, tmp_path, n_channels):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal((9000, n_channels)), 48_000)
    done = ecdc("encode", tmp_path / "a.wav", check=True)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 2 and f"a.wav: {n_channels} channels are downmixed to stereo" in lines[0]
    assert json.loads(ecdc("info", tmp_path / "a.ecdc", "--json", check=True).stdout)["channels"] == 2
    done = ecdc("encode", tmp_path / "a.wav", "--channels", "mono", "-o", tmp_path / "b.ecdc", check=True)
    assert b"folded" not in done.stderr
    assert not ecdc("encode", tmp_path / "a.wav", "--quiet", "--force", check=True).stderr


def test_a_recording_that_was_cut_off_needs_partial(ecdc, tmp_path, one_line):
    soundfile.write(tmp_path / "a.wav", np.zeros(48_000), 48_000)
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[: len(data) // 2])
    line = one_line(ecdc("encode", tmp_path / "a.wav"))
    assert "a.wav: damaged at 0.500 s" in line and line.endswith("try --partial")
    assert not (tmp_path / "a.ecdc").exists()
    done = ecdc("encode", tmp_path / "a.wav", "--partial", check=True)
    assert b"damaged at 0.500 s" in done.stderr
    about = json.loads(ecdc("info", tmp_path / "a.ecdc", "--json", check=True).stdout)
    assert about["original_n_samples"] == (len(data) // 2 - 44) // 2
