"""Melodies as the strongest pitch class of each moment (arXiv 2306.05284, section 2.3)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .config import CHROMA_WINDOW

N_FFT = CHROMA_WINDOW  # samples: also the window's length
SILENCE = 1e-4  # of the loudest frame's power


@lru_cache(maxsize=8)
def chroma_filters(sample_rate: int, n_chroma: int = 12, n_fft: int = N_FFT) -> Tensor:
    """Weights [n_chroma, n_fft/2+1], float32, of FFT bins for pitch classes that start at C.

    Each bin is a bump over the circle of pitch classes, as wide as the distance to the next
    bin but at least a class, of unit length; octaves weigh by a Gaussian around the fifth
    above 27.5 Hz, two octaves wide (Ellis, "Chroma feature analysis", 2007; librosa's defaults).
    """
    frequencies = np.arange(1, n_fft) * (sample_rate / n_fft)  # Hz, without that of 0 Hz
    pitch = n_chroma * np.log2(frequencies / (440 / 16))  # classes above the A four octaves below concert pitch
    pitch = np.concatenate([[pitch[0] - 1.5 * n_chroma], pitch])  # 0 Hz is taken to lie 1.5 octaves below bin 1
    width = np.append(np.maximum(np.diff(pitch), 1), 1)
    half = round(n_chroma / 2)
    distance = np.mod(pitch - np.arange(n_chroma)[:, None] + half + 10 * n_chroma, n_chroma) - half
    bumps = np.exp(-0.5 * (2 * distance / width) ** 2)
    bumps /= np.sqrt((bumps**2).sum(axis=0, keepdims=True))
    bumps *= np.exp(-0.5 * ((pitch / n_chroma - 5) / 2) ** 2)
    from_c = np.roll(bumps, -3 * (n_chroma // 12), axis=0)  # A stands first otherwise
    return torch.from_numpy(np.ascontiguousarray(from_c[:, : n_fft // 2 + 1]).astype(np.float32))


def chroma(wav: Tensor, sample_rate: int, n_chroma: int = 12, n_fft: int = N_FFT) -> Tensor:
    """One-hot pitch classes [F, n_chroma] of mono audio [N], a frame per n_fft / 4 samples.

    Audio shorter than a window is centred in one. Silence is class 0, as the first of equals.
    """
    # The original divides each frame by its maximum first; that moves no maximum.
    strongest = _chroma_power(wav, sample_rate, n_chroma, n_fft).argmax(dim=0)
    return torch.nn.functional.one_hot(strongest, n_chroma).float()


def melody_classes(wav: Tensor, sample_rate: int, n_chroma: int = 12, n_fft: int = N_FFT) -> Tensor:
    """The same as int64 [F], with -1 for silence: frames of less than SILENCE of the loudest one's power."""
    power = _chroma_power(wav, sample_rate, n_chroma, n_fft)
    total = power.sum(dim=0)
    return torch.where((total > SILENCE * total.max()) & (total > 0), power.argmax(dim=0), -1)


def _chroma_power(wav: Tensor, sample_rate: int, n_chroma: int, n_fft: int) -> Tensor:
    """Power of each pitch class, [n_chroma, F]."""
    if wav.dim() != 1 or len(wav) == 0:
        raise ValueError(f"wav must be [N] with N > 0, got {tuple(wav.shape)}")
    missing = max(0, n_fft - len(wav))
    wav = torch.nn.functional.pad(wav.float(), (missing // 2, missing - missing // 2))
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(wav, n_fft, n_fft // 4, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = (spectrum / window.square().sum().sqrt()).abs().square()  # [bins, F]
    return chroma_filters(sample_rate, n_chroma, n_fft) @ power


def frame_classes(classes: Tensor, start: int, n_frames: int, frames_per_class: float, n_repeat: float) -> Tensor:
    """Pitch classes [F] at the codec's frames `start` to `start + n_frames`, [n_frames]: the nearest of each frame's middle.

    `frames_per_class` is the codec's frames between two classes, of which the first is of
    time 0; after `n_repeat` frames the melody starts again, as if it repeated forever.
    """
    middle = (torch.arange(start, start + n_frames, dtype=torch.float64) + 0.5) % n_repeat
    return classes[(middle / frames_per_class + 0.5).long().clamp(max=len(classes) - 1)]


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
