"""Melodies as the strongest pitch class of each moment (arXiv 2306.05284, section 2.3)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .config import CHROMA_HOP

N_FFT = 16_384  # samples: also the window's length


@lru_cache(maxsize=8)
def chroma_filters(sample_rate: int, n_chroma: int = 12) -> Tensor:
    """Weights [n_chroma, N_FFT/2+1], float32, of FFT bins for pitch classes that start at C.

    Each bin is a bump over the circle of pitch classes, as wide as the distance to the next
    bin but at least a class, of unit length; octaves weigh by a Gaussian around the fifth
    above 27.5 Hz, two octaves wide (Ellis, "Chroma feature analysis", 2007; librosa's defaults).
    """
    frequencies = np.arange(1, N_FFT) * (sample_rate / N_FFT)  # Hz, without that of 0 Hz
    pitch = n_chroma * np.log2(frequencies / (440 / 16))  # classes above the A four octaves below concert pitch
    pitch = np.concatenate([[pitch[0] - 1.5 * n_chroma], pitch])  # 0 Hz is taken to lie 1.5 octaves below bin 1
    width = np.append(np.maximum(np.diff(pitch), 1), 1)
    half = round(n_chroma / 2)
    distance = np.mod(pitch - np.arange(n_chroma)[:, None] + half + 10 * n_chroma, n_chroma) - half
    bumps = np.exp(-0.5 * (2 * distance / width) ** 2)
    bumps /= np.sqrt((bumps**2).sum(axis=0, keepdims=True))
    bumps *= np.exp(-0.5 * ((pitch / n_chroma - 5) / 2) ** 2)
    from_c = np.roll(bumps, -3 * (n_chroma // 12), axis=0)  # A stands first otherwise
    return torch.from_numpy(np.ascontiguousarray(from_c[:, : N_FFT // 2 + 1]).astype(np.float32))


def chroma(wav: Tensor, sample_rate: int, n_chroma: int = 12) -> Tensor:
    """One-hot pitch classes [F, n_chroma] of mono audio [N], a frame per 4096 samples.

    Audio shorter than a window is centred in one. Silence is class 0, as the first of equals.
    """
    if wav.dim() != 1 or len(wav) == 0:
        raise ValueError(f"wav must be [N] with N > 0, got {tuple(wav.shape)}")
    missing = max(0, N_FFT - len(wav))
    wav = torch.nn.functional.pad(wav.float(), (missing // 2, missing - missing // 2))
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(wav, N_FFT, CHROMA_HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = (spectrum / window.square().sum().sqrt()).abs().square()  # [bins, F]
    # The original divides each frame by its maximum first; that moves no maximum.
    strongest = (chroma_filters(sample_rate, n_chroma) @ power).argmax(dim=0)
    return torch.nn.functional.one_hot(strongest, n_chroma).float()


def null_chroma(n_frames: int, n_chroma: int = 12) -> Tensor:
    """The melody of no melody [n_frames, n_chroma]: the chroma of silence, which is class 0 and not nothing."""
    silence = torch.zeros(n_frames, n_chroma)
    silence[:, 0] = 1
    return silence


def fitted(frames: Tensor, n_frames: int) -> Tensor:
    """Repeat or cut [F, n_chroma] to [n_frames, n_chroma]."""
    return frames.repeat(-(-n_frames // len(frames)), 1)[:n_frames]


def excerpt(wav: Tensor, start_seconds: float, seconds: float, sample_rate: int) -> Tensor:
    """`seconds` of a melody [N] from `start_seconds` on, as if it repeated forever: what a later window follows."""
    start = int(start_seconds * sample_rate)
    return wav[torch.arange(start, start + int(seconds * sample_rate)) % len(wav)]
