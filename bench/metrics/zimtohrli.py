"""Zimtohrli (Google, 2023): a psychoacoustic distance, mapped to a mean opinion score."""

from __future__ import annotations

import numpy as np
import soxr

NAME, UNIT, HIGHER_IS_BETTER = "Zimtohrli", "MOS 1..5", True
BAND, NEEDS = "20 Hz to 20 kHz", "the PyPI package zimtohrli"
SPEECH_ONLY, QUICK = False, True
SAMPLE_RATE = 48_000  # Hz


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return a mean opinion score, 1 to 5."""
    import zimtohrli

    signals = (np.ascontiguousarray(soxr.resample(x, sample_rate, SAMPLE_RATE), np.float32) for x in (reference, degraded))
    return float(zimtohrli.mos_from_signals(*signals))
