"""Short-time objective intelligibility (Taal et al. 2011; the package `pystoi`)."""

from __future__ import annotations

import warnings

import numpy as np

from . import Undefined

NAME, UNIT, HIGHER_IS_BETTER = "STOI", "0..1", True
BAND, NEEDS = "150 Hz to 4.3 kHz", "the PyPI package pystoi"
SPEECH_ONLY, QUICK = True, True


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the correlation of third-octave envelopes, at most 1; raises Undefined if too little audio is loud enough."""
    from pystoi import stoi

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(stoi(reference.astype(np.float64), degraded.astype(np.float64), sample_rate))
    if any("Not enough STFT frames" in str(w.message) for w in caught):
        raise Undefined("less than 0.4 s of it is loud enough")
    return value
