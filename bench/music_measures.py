"""Measures of generated music: timbre, tempo, melody, level, stereo width, and the distance of two sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..codec.modules.mel import mel_filterbank
from ..plugins.musicgen.chroma import chroma_filters

Array = NDArray[np.float64]

N_FFT, N_MELS, STEPS = 1024, 64, 100  # samples, bands, frames a second
FLOOR_DB = -60.0  # of mel bands, relative to the sound's mean power
BPM = (55.0, 180.0)
USUAL_BPM, SPREAD = 120.0, 0.9  # Gaussian weight of tempi, its width in octaves; chosen on rendered training pieces
BEATS = (1, 2, 3, 4)  # multiples of the beat whose autocorrelation is summed
CHROMA_FFT, N_CHROMA = 8192, 12
QUIET = 1e-4  # share of the loudest frame's chroma energy; below it a frame is a rest
SILENT_DB, CLIP = -50.0, 0.999


def log_mel(wav: np.ndarray, sample_rate: int) -> Tensor:
    """Return mel bands in dB, [N] -> [N_MELS, T], relative to the mean power of all bands; at least FLOOR_DB."""
    audio = torch.from_numpy(np.ascontiguousarray(wav, np.float32))
    hop = sample_rate // STEPS
    spectrum = torch.stft(audio, N_FFT, hop, window=torch.hann_window(N_FFT), pad_mode="reflect", return_complex=True)
    power = mel_filterbank(sample_rate, N_FFT, N_MELS) @ spectrum.abs().square()
    return 10 * (power / power.mean().clamp(min=1e-12)).clamp(min=10 ** (FLOOR_DB / 10)).log10()


def timbre(wav: np.ndarray, sample_rate: int) -> Array:
    """Return mean, deviation and mean step of each log-mel band, [3 * N_MELS]. They do not depend on the level."""
    mel = log_mel(wav, sample_rate)
    return torch.cat([mel.mean(1), mel.std(1), mel.diff(dim=1).abs().mean(1)]).double().numpy()


def tempo(wav: np.ndarray, sample_rate: int) -> float:
    """Return the beats per minute with the highest autocorrelation of onsets, summed over one to four beats."""
    rises = log_mel(wav, sample_rate).diff(dim=1).clamp(min=0).sum(0).double().numpy()
    smooth = np.convolve(rises, np.hanning(7) / np.hanning(7).sum(), mode="same")
    onsets = smooth - smooth.mean()
    n = len(onsets)
    spectrum = np.fft.rfft(onsets, 2 * n)
    lags = np.fft.irfft(np.square(np.abs(spectrum)))[:n] / np.arange(n, 0, -1)
    lags /= max(float(lags[0]), 1e-12)
    candidates = np.geomspace(*BPM, 400)
    beat = 60 * STEPS / candidates  # frames
    heard = n * 3 // 4  # longer lags have too few frames
    score = sum(np.interp(k * beat, np.arange(heard), lags[:heard], right=0.0) for k in BEATS)
    bell = np.exp(-0.5 * np.square(np.log2(candidates / USUAL_BPM) / SPREAD))
    return float(candidates[np.argmax(score * bell)])


def chroma_energy(wav: np.ndarray, sample_rate: int) -> Tensor:
    """Return the energy of the twelve pitch classes, [12, F], with one frame per quarter of a window."""
    audio = torch.from_numpy(np.ascontiguousarray(wav, np.float32))
    window = torch.hann_window(CHROMA_FFT)
    spectrum = torch.stft(audio, CHROMA_FFT, CHROMA_FFT // 4, window=window, pad_mode="reflect", return_complex=True)
    return chroma_filters(sample_rate, N_CHROMA, CHROMA_FFT) @ spectrum.abs().square()


def similarity(audio: Tensor, melody: Tensor) -> float:
    """Return the mean cosine similarity of two chroma energies [12, F], over frames in which the melody is not silent."""
    energy = melody.sum(0)
    sounds = energy > QUIET * energy.max()
    cosine = torch.nn.functional.cosine_similarity(audio[:, sounds], melody[:, sounds], dim=0, eps=1e-12)
    return float(cosine.mean()) if bool(sounds.any()) else 0.0


def levels(audio: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Return for audio [C, N]: level in dBFS, shares of silent half seconds and of clipped samples, side to mid energy."""
    half = sample_rate // 2
    n = max(1, audio.shape[1] // half)
    power = np.array([np.square(part).mean() for part in np.array_split(audio.astype(np.float64), n, axis=1)])
    middle, side = (audio[0] + audio[-1]) / 2, (audio[0] - audio[-1]) / 2
    return {
        "rms_db": float(10 * np.log10(max(float(power.mean()), 1e-12))),
        "silent": float((power < 10 ** (SILENT_DB / 10)).mean()),
        "clipped": float((np.abs(audio) >= CLIP).mean()),
        "width": float(np.square(side).sum() / max(float(np.square(middle).sum()), 1e-12)),
    }


@dataclass(frozen=True)
class Scale:
    """Normalise features with the mean and deviation of a set."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, features: Array) -> Scale:
        """Compute mean and deviation from features [n, D]."""
        return cls(features.mean(0), np.maximum(features.std(0), 1e-6))

    def __call__(self, features: Array) -> Array:
        """Normalise features [n, D] -> [n, D]."""
        return (features - self.mean) / self.deviation


@dataclass(frozen=True)
class Classifier:
    """Multinomial logistic regression."""

    names: tuple[str, ...]
    scale: Scale
    weight: Tensor  # [D, classes]
    bias: Tensor  # [classes]

    @classmethod
    def train(cls, features: Array, labels: Sequence[str], decay: float = 1e-2) -> Classifier:
        """Fit features [n, D] by mean cross-entropy plus `decay` times the squared weights. Deterministic."""
        names = tuple(sorted(set(labels)))
        scale = Scale.of(features)
        x, y = torch.from_numpy(scale(features)), torch.tensor([names.index(label) for label in labels])
        weight = torch.zeros(x.shape[1], len(names), dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(x @ weight + bias, y) + decay * weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return cls(names, scale, weight.detach(), bias.detach())

    def __call__(self, features: Array) -> list[str]:
        """Return the most likely name for each of n features [n, D]."""
        logits = torch.from_numpy(self.scale(features)) @ self.weight + self.bias
        return [self.names[i] for i in logits.argmax(1).tolist()]


@dataclass(frozen=True)
class Embedding:
    """Principal components of features, in units of their deviations."""

    scale: Scale
    axes: Array  # [D, n]

    @classmethod
    def of(cls, features: Array, n: int) -> Embedding:
        """Compute the first `n` components of features [rows, D]."""
        scale = Scale.of(features)
        return cls(scale, np.linalg.svd(scale(features), full_matrices=False)[2][:n].T)

    def __call__(self, features: Array) -> Array:
        """Project features [rows, D] -> [rows, n]."""
        return self.scale(features) @ self.axes


def frechet(a: Array, b: Array) -> float:
    """Return the squared Fréchet distance of the normal distributions of two sets [n, D], as in FAD (Kilgour et al. 2019)."""
    first, second = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * cross)
    return max(apart, 0.0)
