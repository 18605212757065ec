"""Melodies: pitch classes as librosa and transformers find them."""

import numpy as np
import pytest
import torch
from ecdc.plugins.musicgen.chroma import N_FFT, chroma, chroma_filters, excerpt, fitted, null_chroma

RATE = 32_000


def tone(frequency, n_samples=60_000):
    return torch.sin(2 * torch.pi * frequency / RATE * torch.arange(n_samples))


def test_filters_are_those_of_transformers():
    audio_utils = pytest.importorskip("transformers.audio_utils")
    for rate in (RATE, 44_100):
        theirs = audio_utils.chroma_filter_bank(num_frequency_bins=N_FFT, num_chroma=12, sampling_rate=rate, tuning=0)
        assert np.abs(chroma_filters(rate).numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize("n_samples", [1, 9_000, N_FFT, 100_001])
def test_classes_are_those_of_transformers(n_samples):
    extractor = pytest.importorskip("transformers").MusicgenMelodyFeatureExtractor()
    time = torch.arange(n_samples) / RATE
    wav = torch.sin(2 * torch.pi * (150 + 300 * time) * time) + 0.05 * torch.randn(
        n_samples, generator=torch.Generator().manual_seed(1)
    )
    theirs = extractor(wav.numpy(), sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert torch.equal(chroma(wav, RATE), theirs[0])


@pytest.mark.parametrize(("frequency", "pitch_class"), [(261.63, 0), (440, 9), (493.88, 11), (880, 9)])
def test_a_tone_is_its_pitch_class(frequency, pitch_class):
    classes = chroma(tone(frequency), RATE).argmax(1)
    assert set(classes[2:-2].tolist()) == {pitch_class}


def test_silence_is_the_null_melody():
    assert torch.equal(chroma(torch.zeros(40_000), RATE), null_chroma(10))


def test_a_melody_is_repeated_or_cut_to_the_model_length():
    frames = torch.eye(12)[:5]
    assert torch.equal(fitted(frames, 12), torch.cat([frames, frames, frames[:2]]))
    assert torch.equal(fitted(frames, 3), frames[:3])


def test_an_excerpt_reads_on_as_if_the_melody_repeated():
    wav = torch.arange(10.0)
    assert excerpt(wav, 0.7, 1.5, sample_rate=10).tolist() == [7, 8, 9, *range(10), 0, 1]


def test_only_mono_audio_has_a_melody():
    with pytest.raises(ValueError, match=r"\[N\]"):
        chroma(torch.zeros(2, 100), RATE)
