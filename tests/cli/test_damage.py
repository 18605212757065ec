"""Damaged files: refused unless asked for, then silent where chunks were lost and repaired on demand."""

import io
import json

import numpy as np
import pytest
import soundfile
from ecdc.codec.silence import FADE_SAMPLES
from ecdc.format import Reader


@pytest.fixture(scope="module")
def whole(ecdc, default, tmp_path_factory):
    """Thirty seconds of noise at the codec's rate, coded in chunks of five, and its decoding."""
    folder, rate = tmp_path_factory.mktemp("damage"), default.sample_rate
    noise = 0.1 * np.random.default_rng(0).standard_normal(30 * rate - 77)
    soundfile.write(folder / "a.wav", noise, rate)
    ecdc("encode", folder / "a.wav", "--kbps", 1.5, check=True)
    ecdc("decode", folder / "a.ecdc", "-o", folder / "back.wav", check=True)
    return (folder / "a.ecdc").read_bytes(), soundfile.read(folder / "back.wav")[0]


def damaged(data, tmp_path):
    """The third chunk hit in the middle."""
    (tmp_path / "whole.ecdc").write_bytes(data)
    with open(tmp_path / "whole.ecdc", "rb") as file:
        offsets = Reader(file).index.offsets
    broken = bytearray(data)
    broken[(offsets[2] + offsets[3]) // 2] ^= 16
    (tmp_path / "a.ecdc").write_bytes(broken)
    return bytes(broken)


def test_only_the_damaged_chunk_is_lost(ecdc, whole, default, tmp_path):
    (data, wanted), rate = whole, default.sample_rate
    damaged(data, tmp_path)
    done = ecdc("decode", tmp_path / "a.ecdc", "--partial", "--json", check=True)
    (line,) = json.loads(done.stdout)["lost"]
    assert line.encode() in done.stderr and line.endswith("silence from 10.00 s to 15.00 s")
    assert b"silence from 10.00 s to 15.00 s" in done.stderr
    found = soundfile.read(tmp_path / "a.wav")[0]
    assert len(found) == len(wanted)
    before = 10 * rate - 2 * default.hop_length
    assert np.abs(found[:before] - wanted[:before]).max() < 1e-4
    assert not found[10 * rate + FADE_SAMPLES : 15 * rate].any()
    assert np.abs(found[17 * rate :] - wanted[17 * rate :]).max() < 1e-4  # the decoder has settled


def test_repaired_files_are_whole_and_decode_alike(ecdc, whole, tmp_path):
    broken = damaged(whole[0], tmp_path)
    done = ecdc("repair", tmp_path / "a.ecdc", "-o", tmp_path / "b.ecdc", check=True)
    assert b"silence from 10.00 s to 15.00 s" in done.stderr
    ecdc("verify", tmp_path / "b.ecdc", check=True)
    assert ecdc("repair", "-", "-o", "-", stdin=broken, check=True).stdout == (tmp_path / "b.ecdc").read_bytes()
    ecdc("decode", tmp_path / "a.ecdc", "--partial", check=True)
    ecdc("decode", tmp_path / "b.ecdc", check=True)
    one, two = (soundfile.read(tmp_path / name, dtype="int16")[0].astype(int) for name in ("a.wav", "b.wav"))
    assert len(one) == len(two) and np.abs(one - two).max() <= 1


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_cut_off_streams_decode_up_to_the_last_whole_chunk(ecdc, whole, default, tmp_path, share):
    data, wanted = whole
    cut = data[: int(len(data) * share)]
    (tmp_path / "a.ecdc").write_bytes(cut)
    done = ecdc("decode", tmp_path / "a.ecdc", "--partial", check=True)
    assert b"the stream was cut off" in done.stderr
    found = soundfile.read(tmp_path / "a.wav")[0]
    with open(tmp_path / "a.ecdc", "rb") as file:
        assert len(found) == Reader(file).n_frames * default.hop_length > 0
    same = min(len(found), len(wanted)) - 2 * default.hop_length
    assert np.abs(found[:same] - wanted[:same]).max() < 1e-4
    piped = ecdc("decode", "-", "-o", "-", "--partial", stdin=cut, check=True)
    assert len(piped.stdout) == 44 + 2 * len(found)


def test_damage_is_an_error_unless_asked_for(ecdc, whole, tmp_path, one_line):
    damaged(whole[0], tmp_path)
    assert "a.ecdc: byte " in one_line(ecdc("decode", tmp_path / "a.ecdc"))
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize("options", [["decode", "--partial"], ["repair"]], ids=" ".join)
def test_where_nothing_survives_nothing_is_written(ecdc, whole, tmp_path, one_line, options):
    """Neither an empty file nor one of silence alone."""
    data, first = whole[0], int(Reader(io.BytesIO(whole[0])).index.offsets[0])
    every_chunk = bytearray(data)
    for offset in Reader(io.BytesIO(data)).index.offsets:
        every_chunk[offset + 20] ^= 1
    for broken in (data[: first + 99], bytes(every_chunk)):
        (tmp_path / "a.ecdc").write_bytes(broken)
        line = one_line(ecdc(*options, tmp_path / "a.ecdc", "-o", tmp_path / "out.wav"))
        assert (
            line.startswith(f"ecdc: {tmp_path / 'a.ecdc'}: byte {first}: no chunk of this file is intact")
            and "; try" not in line
        )
        assert [path.name for path in tmp_path.iterdir()] == ["a.ecdc"]


def test_json_lists_what_recordings_lack(ecdc, tone, tmp_path):
    (tmp_path / "short.wav").write_bytes(tone.read_bytes()[:-40_000])
    options = ("--partial", "--json", "--model", "nano-24k", "--effort", 0)
    rows = [json.loads(ecdc("encode", path, *options, check=True).stdout) for path in (tone, tmp_path / "short.wav")]
    assert rows[0]["lost"] == [] and len(rows[1]["lost"]) == 1
    assert rows[1]["lost"][0].startswith("damaged at ") and rows[1]["seconds"] < rows[0]["seconds"]
