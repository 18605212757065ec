"""Multi-scale mel distance, as DAC defines it (Kumar et al. 2023), so that figures compare with its tables."""

from __future__ import annotations

import numpy as np
import torch

from ...codec.train.losses import FLOOR, MEL_BANDS, mel_filterbank

NAME, UNIT, HIGHER_IS_BETTER = "mel distance", "", False


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Sum over windows of 32 to 2048 samples of the mean absolute difference of log10 mel magnitudes."""
    total = 0.0
    for n_fft, n_mels in MEL_BANDS.items():
        filters = mel_filterbank(sample_rate, n_fft, n_mels)
        logs = []
        for signal in (reference, degraded):
            audio = torch.from_numpy(np.ascontiguousarray(signal, np.float32))[None]
            window = torch.hann_window(n_fft)
            spectrum = torch.stft(audio, n_fft, n_fft // 4, window=window, return_complex=True, pad_mode="reflect")
            logs.append((filters @ spectrum.abs()).clamp(min=FLOOR).log10())
        total += float((logs[0] - logs[1]).abs().mean())
    return total
