"""ViSQOL in audio mode (Chinen et al. 2020; the port `visqol-python`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import soxr

NAME, UNIT, HIGHER_IS_BETTER = "ViSQOL", "MOS-LQO 1..5", True
BAND, NEEDS = "50 Hz to 15 kHz", "the PyPI package visqol-python"
SPEECH_ONLY, QUICK = False, False
SAMPLE_RATE = 48_000  # Hz, required by audio mode


@lru_cache(maxsize=2)
def api(mode: str) -> Any:
    """Load the library in a mode, once per process."""
    import visqol

    api = visqol.VisqolApi()
    api.create(mode=mode)
    return api


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return MOS-LQO, 1 to about 4.73. The score also depends on the bandwidth of the reference."""
    signals = (soxr.resample(x.astype(np.float64), sample_rate, SAMPLE_RATE) for x in (reference, degraded))
    return float(api("audio").measure_from_arrays(*signals, SAMPLE_RATE).moslqo)
