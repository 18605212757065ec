"""Codecs under test: named in one way, aligned, counted in the bytes of their files."""

import numpy as np
import pytest
from ecdc.bench.codecs import OTHERS, Missing, parse
from ecdc.bench.codecs.anchors import LowPass, Noise, Pcm
from ecdc.bench.codecs.base import aligned, fit_length
from ecdc.bench.metrics import si_sdr

RATE = 24_000


def names(text):
    return [coder.name for coder in parse(text)]


def test_names():
    assert names("nano-24k") == ["nano-24k 1.5", "nano-24k 3", "nano-24k 6", "nano-24k 12"]
    assert names("nano-24k:6,0.75") == ["nano-24k 6", "nano-24k 0.75"]
    assert names("opus") == ["Opus 6", "Opus 12", "Opus 24"] and names("mp3:16") == ["MP3 16"]
    assert names("anchors") == ["noise", "low-pass 3.5 kHz", "low-pass 7 kHz", "PCM"]


@pytest.mark.parametrize("text", ["nothing-24k", "opus:0", "opus:-3", "opus:nan", "nano-24k:0.1", "codec2:5", "opus:9999"])
def test_what_is_not_there(text):
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("name", OTHERS)
def test_other_codecs_give_the_clip_back_aligned(name, speech, tmp_path):
    coder = parse(name)[-1]
    try:
        coded = coder.code(speech, RATE, tmp_path)
    except Missing as missing:
        pytest.skip(f"{coder.name}: {missing}")
    assert len(coded.audio) == len(speech) and np.isfinite(coded.audio).all()
    assert coded.n_bytes == next(path for path in tmp_path.iterdir() if path.stem == "a").stat().st_size
    if name in ("opus", "mp3", "aac", "vorbis"):  # the others do not follow the waveform
        assert si_sdr.measure(speech, coded.audio, RATE) > 9


def test_a_missing_program_names_its_package(monkeypatch, speech, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in OTHERS:
        with pytest.raises(Missing, match="Debian package"):
            parse(name)[0].code(speech, RATE, tmp_path)


@pytest.mark.parametrize("shift", [-700, -1, 0, 1, 333])
def test_delays_are_taken_out(shift, speech):
    moved = np.roll(np.pad(speech, 1000), shift)[1000:-1000]
    found = aligned(moved, speech, RATE)
    assert np.array_equal(found[800:-800], speech[800:-800])


def test_lengths_are_fitted():
    assert fit_length(np.ones(3), 5).tolist() == [1, 1, 1, 0, 0] and fit_length(np.ones(5), 3).tolist() == [1, 1, 1]
    assert len(aligned(np.ones(1), np.ones(5), RATE)) == 5 and len(aligned(np.ones(5), np.ones(1), RATE)) == 1


def test_anchors(speech, tmp_path):
    assert si_sdr.measure(speech, Pcm().code(speech, RATE, tmp_path).audio, RATE) > 60
    assert Pcm().code(speech, RATE, tmp_path).n_bytes == 44 + 2 * len(speech)
    assert len(Pcm(16_000).code(speech, RATE, tmp_path).audio) == len(speech)
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(LowPass(3500.0).code(noise, RATE, tmp_path).audio))
    assert spectrum[3800:].mean() < 0.01 * spectrum[:3200].mean()
    assert np.array_equal(LowPass(12_000.0).code(noise, RATE, tmp_path).audio, noise)
    assert si_sdr.measure(speech, Noise(3).code(speech, RATE, tmp_path).audio, RATE) < -20


def test_our_models_go_through_files(speech, tmp_path):
    coded = parse("nano-24k:6")[0].code(speech, RATE, tmp_path)
    assert coded.n_bytes == (tmp_path / "a.ecdc").stat().st_size
    assert si_sdr.measure(speech, coded.audio, RATE) > 3
