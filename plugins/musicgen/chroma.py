"""Represent melodies by the strongest pitch class of each frame (arXiv 2306.05284, section 2.3)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...format.errors import ArgumentError
from .config import CHROMA_WINDOW

N_FFT = CHROMA_WINDOW  # samples; also the length of the window
SILENCE = 1e-4  # relative to the power of the loudest frame


@lru_cache(maxsize=8)
def chroma_filters(sample_rate: int, n_chroma: int = 12, n_fft: int = N_FFT) -> Tensor:
    """Return the weights [n_chroma, n_fft/2+1], float32, of FFT bins for pitch classes that start at C.

    Each bin contributes a bump of unit length on the circle of pitch classes. The bump is as wide
    as the distance to the next bin, but at least one class. Octaves are weighted by a Gaussian of
    two octaves around the fifth octave above 27.5 Hz (Ellis, "Chroma feature analysis", 2007; the
    defaults of librosa).
    """
    frequencies = np.arange(1, n_fft) * (sample_rate / n_fft)  # Hz, without the bin of 0 Hz
    pitch = n_chroma * np.log2(frequencies / (440 / 16))  # classes above the A four octaves below concert pitch
    pitch = np.concatenate([[pitch[0] - 1.5 * n_chroma], pitch])  # treat 0 Hz as 1.5 octaves below bin 1
    width = np.append(np.maximum(np.diff(pitch), 1), 1)
    half = round(n_chroma / 2)
    distance = np.mod(pitch - np.arange(n_chroma)[:, None] + half + 10 * n_chroma, n_chroma) - half
    bumps = np.exp(-0.5 * (2 * distance / width) ** 2)
    bumps /= np.sqrt((bumps**2).sum(axis=0, keepdims=True))
    bumps *= np.exp(-0.5 * ((pitch / n_chroma - 5) / 2) ** 2)
    from_c = np.roll(bumps, -3 * (n_chroma // 12), axis=0)  # move C to the front, where A was
    return torch.from_numpy(np.ascontiguousarray(from_c[:, : n_fft // 2 + 1]).astype(np.float32))


def chroma(wav: Tensor, sample_rate: int, n_chroma: int = 12, n_fft: int = N_FFT) -> Tensor:
    """Return one-hot pitch classes [F, n_chroma] of mono audio [N], one frame per n_fft / 4 samples.

    Audio shorter than a window is centred in one. Silence gives class 0, the first of equal classes.
    """
    # The original first divides each frame by its maximum, which does not change the argmax.
    strongest = _chroma_power(wav, sample_rate, n_chroma, n_fft).argmax(dim=0)
    return torch.nn.functional.one_hot(strongest, n_chroma).float()


def melody_classes(wav: Tensor, sample_rate: int, n_chroma: int = 12, n_fft: int = N_FFT) -> Tensor:
    """Return pitch classes as int64 [F], with -1 for silence: frames below SILENCE times the power of the loudest.

    The rule is relative, so a quiet recording has the same melody as a loud one. Training and inference use it alike.
    """
    power = _chroma_power(wav, sample_rate, n_chroma, n_fft)
    total = power.sum(dim=0)
    return torch.where((total > SILENCE * total.max()) & (total > 0), power.argmax(dim=0), -1)


def _chroma_power(wav: Tensor, sample_rate: int, n_chroma: int, n_fft: int) -> Tensor:
    """Return the power of each pitch class, [n_chroma, F]."""
    if wav.dim() != 1 or len(wav) == 0:
        raise ArgumentError(f"wav must be [N] with N > 0, got {tuple(wav.shape)}")
    missing = max(0, n_fft - len(wav))
    wav = torch.nn.functional.pad(wav.float(), (missing // 2, missing - missing // 2))
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(wav, n_fft, n_fft // 4, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = (spectrum / window.square().sum().sqrt()).abs().square()  # [bins, F]
    return chroma_filters(sample_rate, n_chroma, n_fft) @ power


def frame_classes(classes: Tensor, start: int, n_frames: int, frames_per_class: float, n_repeat: float) -> Tensor:
    """Return the pitch class nearest to the middle of each codec frame from `start` on: [F] -> [n_frames].

    `frames_per_class` is the number of codec frames between two classes; the first class is at time
    0. After `n_repeat` frames the melody starts again, as if repeated forever.
    """
    middle = (torch.arange(start, start + n_frames, dtype=torch.float64) + 0.5) % n_repeat
    return classes[(middle / frames_per_class + 0.5).long().clamp(max=len(classes) - 1)]


def null_chroma(n_frames: int, n_chroma: int = 12) -> Tensor:
    """Return the chroma of silence [n_frames, n_chroma], which means no melody. It is class 0, not zeros."""
    silence = torch.zeros(n_frames, n_chroma)
    silence[:, 0] = 1
    return silence


def fitted(frames: Tensor, n_frames: int) -> Tensor:
    """Repeat or cut [F, n_chroma] to [n_frames, n_chroma]."""
    return frames.repeat(-(-n_frames // len(frames)), 1)[:n_frames]


def excerpt(wav: Tensor, start_seconds: float, seconds: float, sample_rate: int) -> Tensor:
    """Return `seconds` of a melody [N] from `start_seconds` on, as if it repeated forever. Used for later windows."""
    start = int(start_seconds * sample_rate)
    return wav[torch.arange(start, start + int(seconds * sample_rate)) % len(wav)]
