"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019): how closely the waveform is reproduced."""

from __future__ import annotations

import numpy as np

from . import Undefined

NAME, UNIT, HIGHER_IS_BETTER = "SI-SDR", "dB", True
BAND, NEEDS = "all", "ecdc"
SPEECH_ONLY, QUICK = False, True
MAX_DB = 100.0  # the score of an exact copy


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the SI-SDR in dB of the signals minus their means, at most MAX_DB.

    Raises Undefined if the reference is constant or not correlated with `degraded`.
    """
    target, estimate = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (reference, degraded))
    energy = float(target @ target)
    if energy == 0:
        raise Undefined("the reference is constant")
    scaled = float(estimate @ target) / energy * target
    noise = float(np.square(estimate - scaled).sum())
    signal = float(scaled @ scaled)
    if signal == 0:
        raise Undefined("the decoded signal has nothing of the reference")
    return min(MAX_DB, 10 * float(np.log10(signal / noise))) if noise else MAX_DB
