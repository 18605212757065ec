"""Multi-scale STFT distance, as in DAC (Kumar et al. 2023): it weights high frequencies more than the mel distance does."""

from __future__ import annotations

import numpy as np

from .mel import FLOOR, magnitudes

NAME, UNIT, HIGHER_IS_BETTER = "STFT distance", "", False
BAND, NEEDS = "all", "ecdc"
SPEECH_ONLY, QUICK = False, True
WINDOWS = (2048, 512)  # samples


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the mean absolute differences of magnitudes and of log10 squared magnitudes, summed over both windows."""
    total = 0.0
    for n_fft in WINDOWS:
        one, two = (magnitudes(x, n_fft) for x in (reference, degraded))
        logs = [2 * np.log10(np.maximum(x, FLOOR)) for x in (one, two)]
        total += float(np.abs(logs[0] - logs[1]).mean(dtype=np.float64) + np.abs(one - two).mean(dtype=np.float64))
    return total
