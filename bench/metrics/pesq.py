"""Wideband PESQ (ITU-T P.862.2; the port `pesq`): speech at 16 kHz, 100 Hz to 8 kHz."""

from __future__ import annotations

import numpy as np
import soxr

from . import Undefined

NAME, UNIT, HIGHER_IS_BETTER = "PESQ-WB", "MOS-LQO 1..4.64", True
BAND, NEEDS = "100 Hz to 8 kHz", "the PyPI package pesq, which a C compiler builds"
SPEECH_ONLY, QUICK = True, True
SAMPLE_RATE = 16_000  # Hz


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return MOS-LQO, 1.04 to 4.64; raises Undefined if PESQ finds no utterance."""
    import pesq

    signals = (soxr.resample(x.astype(np.float64), sample_rate, SAMPLE_RATE) for x in (reference, degraded))
    try:
        return float(pesq.pesq(SAMPLE_RATE, *signals, "wb"))
    except pesq.NoUtterancesError as error:
        raise Undefined("no utterance was found") from error
