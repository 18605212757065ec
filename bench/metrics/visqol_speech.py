"""ViSQOL in speech mode (Chinen et al. 2020; the port `visqol-python`): speech at 16 kHz."""

from __future__ import annotations

import numpy as np
import soxr

from .visqol import api

NAME, UNIT, HIGHER_IS_BETTER = "ViSQOL speech", "MOS-LQO 1..5", True
BAND, NEEDS = "50 Hz to 8 kHz", "the PyPI package visqol-python[lattice]"
SPEECH_ONLY, QUICK = True, False
SAMPLE_RATE = 16_000  # Hz, required by speech mode


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return MOS-LQO, 1 to 5, with the lattice model. Without it, the library's polynomial is wrong by one or two points."""
    import ai_edge_litert  # noqa: F401

    signals = (soxr.resample(x.astype(np.float64), sample_rate, SAMPLE_RATE) for x in (reference, degraded))
    return float(api("speech").measure_from_arrays(*signals, SAMPLE_RATE).moslqo)
