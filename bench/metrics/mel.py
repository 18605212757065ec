"""Multi-scale mel distance, as defined by DAC's paper (Kumar et al. 2023, section 3.5), for comparison with its table.

That table is for 44.1 kHz audio; at 24 kHz, the same distance covers only bands up to 12 kHz.
"""

from __future__ import annotations

import numpy as np
import torch

from ...codec.modules.mel import mel_filterbank

# Fixed here, so that a change of a training loss does not change published figures.
MEL_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}  # window (samples): bands
FLOOR = 1e-5  # of a mel magnitude, before the logarithm

NAME, UNIT, HIGHER_IS_BETTER = "mel distance", "", False
BAND, NEEDS = "all", "ecdc"
SPEECH_ONLY, QUICK = False, True


def magnitudes(signal: np.ndarray, n_fft: int) -> torch.Tensor:
    """Return STFT magnitudes with a Hann window and a hop of n_fft / 4: float32 [N] -> [n_fft/2 + 1, T]."""
    audio = torch.from_numpy(np.ascontiguousarray(signal, np.float32))[None]
    window = torch.hann_window(n_fft)
    return torch.stft(audio, n_fft, n_fft // 4, window=window, return_complex=True, pad_mode="reflect")[0].abs()


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the mean absolute difference of log10 mel magnitudes, summed over windows of 32 to 2048 samples."""
    total = 0.0
    for n_fft, n_mels in MEL_BANDS.items():
        filters = mel_filterbank(sample_rate, n_fft, n_mels)
        logs = [(filters @ magnitudes(x, n_fft)).clamp(min=FLOOR).log10() for x in (reference, degraded)]
        total += float((logs[0] - logs[1]).abs().mean())
    return total
