"""Samples beyond full scale: one line on stderr says what became of them, and they are coded as they are."""

import json

import numpy as np
import pytest
import soundfile
from ecdc.codec.audio_in import AudioSource
from ecdc.codec.full_scale import Overs, clipping_note, encoding_note


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """One second of a sine, as floats with peaks at half of full scale, at it, 6 dB beyond it, and as unscaled integers."""
    folder = tmp_path_factory.mktemp("sounds")
    sine = np.sin(np.arange(24_000) * 2 * np.pi * 60 / 24_000).astype(np.float32)  # its peaks are samples
    for name, gain in {"half": 0.5, "full": 1.0, "loud": 2.0, "integers": 32_767.0}.items():
        soundfile.write(folder / f"{name}.wav", gain * sine, 24_000, subtype="FLOAT")
    soundfile.write(folder / "full.mp3", sine, 24_000)
    return folder


def encoded(ecdc, path, *more, model="nano-24k"):
    return ecdc("encode", path, "-o", path.with_suffix(".ecdc"), "--force", "--model", model, "--effort", 0, *more, check=True)


def notes(done):
    return [line for line in done.stderr.decode().splitlines() if line.startswith("ecdc: ")]


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_encode_says_how_many_how_far_and_what_to_do(ecdc, sounds, runtime):
    (line,) = notes(encoded(ecdc, sounds / "loud.wav", "--runtime", runtime))
    n = int((np.abs(soundfile.read(sounds / "loud.wav")[0]) > 1).sum())
    assert line.startswith(
        f"ecdc: {sounds}/loud.wav: {n} samples are beyond full scale, by up to 6.0 dB; they were coded as they are"
    )
    assert "volume=-7dB" in line
    (line,) = notes(encoded(ecdc, sounds / "integers.wav", "--runtime", runtime))
    assert "by up to 90.3 dB: these look like integers" in line and "scale them to -1..1" in line


def test_encode_is_silent_otherwise(ecdc, sounds):
    for name in ("half.wav", "full.wav", "full.mp3"):
        assert notes(encoded(ecdc, sounds / name)) == []
    with AudioSource(sounds / "full.mp3") as audio:
        assert audio.info.is_lossy and max(abs(block).max() for block in audio.blocks()) > 1
    assert encoded(ecdc, sounds / "loud.wav", "--quiet").stderr == b""


def test_standard_input_has_its_line_too(ecdc, sounds):
    done = ecdc("encode", "-", "-o", "-", "--model", "nano-24k", stdin=(sounds / "loud.wav").read_bytes(), check=True)
    (line,) = notes(done)
    assert line.startswith("ecdc: standard input: ") and "beyond full scale" in line


def test_folders_name_the_file(ecdc, sounds, tmp_path):
    (tmp_path / "loud.wav").write_bytes((sounds / "loud.wav").read_bytes())
    (tmp_path / "half.wav").write_bytes((sounds / "half.wav").read_bytes())
    found = [line for line in notes(ecdc("encode", tmp_path, "--model", "nano-24k", check=True)) if "beyond" in line]
    assert len(found) == 1 and found[0].startswith(f"ecdc: {tmp_path}/loud.wav: ")


def test_decode_says_what_was_clipped(ecdc, sounds, tmp_path):
    encoded(ecdc, sounds / "loud.wav")
    coded, out = sounds / "loud.ecdc", tmp_path / "out.wav"
    assert notes(ecdc("decode", coded, "-o", out, "--bits", "float", check=True)) == []
    audio = soundfile.read(out)[0]
    n, peak = int((np.abs(audio) > 1).sum()), 20 * np.log10(np.abs(audio).max())
    assert n > 1000
    for name, way in (
        ("a.wav", "--bits float"),
        ("a.flac", "--format wav --bits float"),
        ("a.mp3", "--format wav --bits float"),
    ):
        (line,) = notes(ecdc("decode", coded, "-o", tmp_path / name, check=True))
        expected = f"{n} samples are beyond full scale, by up to {peak:.1f} dB, and clipped; {way} keeps the peaks"
        assert line == f"ecdc: {tmp_path}/{name}: {expected}"
    assert np.abs(soundfile.read(tmp_path / "a.wav")[0]).max() == 1
    assert ecdc("decode", coded, "-o", tmp_path / "b.wav", "--quiet", check=True).stderr == b""


def test_a_corpus_counts_the_recordings(ecdc, sounds, tmp_path):
    for name in ("half", "loud"):
        (tmp_path / f"in-{name}.wav").write_bytes((sounds / f"{name}.wav").read_bytes())
    rows = [{"path": str(tmp_path / "in-half.wav")}, {"path": str(tmp_path / "in-loud.wav")}]
    rows.append(rows[1] | {"offset": 1 / 120 - 1e-3, "duration": 2e-3})  # a quiet part, around a zero of the sine
    (tmp_path / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = tmp_path / "tokens"
    command = "corpus", "encode", tmp_path / "list.jsonl", "--output", out, "--model", "nano-24k", "--workers", 1
    (line,) = [line for line in notes(ecdc(*command, check=True)) if "beyond" in line]
    assert "1 recording has samples beyond full scale, by up to 6.0 dB in in-loud" in line
    found = json.loads((out / "manifest.json").read_text())["beyond_full_scale"]
    assert found == {"recordings": 1, "loudest": "in-loud", "peak_db": pytest.approx(6.02, abs=0.01)}


def test_words():
    overs = Overs()
    overs.add(np.zeros((1, 0), np.float32))
    overs.add(np.array([[-1.0, 1.0]], np.float32))
    assert not overs.is_notable(False) and overs.peak_db == 0
    overs.add(np.array([[-1.001, 0.5]], np.float32))
    assert str(overs) == "1 sample is beyond full scale, by less than 0.1 dB"
    assert overs.is_notable(False) and not overs.is_notable(True)
    assert "volume=-1dB" in encoding_note(overs)
    assert clipping_note(overs, True).endswith("and clipped; --bits float keeps the peaks")
