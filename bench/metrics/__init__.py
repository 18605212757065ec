"""Quality metrics, one module each. To add one, add its module's name to `ALL`.

A metric is a module with `NAME`, `UNIT`, `HIGHER_IS_BETTER`, `BAND` (the frequencies that it evaluates), `NEEDS` (the
package that provides it), `SPEECH_ONLY`, `QUICK` (True if it is fast) and
`measure(reference, degraded, sample_rate) -> float`. Signals are mono float32 [N] of equal length. `measure` raises
Undefined if the metric has no value; callers should use `score`.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import numpy as np

from ...format.errors import ArgumentError, EcdcError

ALL = ("visqol", "visqol_speech", "zimtohrli", "pesq", "stoi", "mel", "stft", "si_sdr")
SILENCE = 1e-4  # a reference whose peak is below this share of full scale counts as silent
MIN_SECONDS = 0.5  # the metrics need at least this much audio


class Undefined(EcdcError, ValueError):
    """The metric has no value for these signals; the message says why."""


class Metric(Protocol):
    """The interface of a metric's module."""

    NAME: str
    UNIT: str
    HIGHER_IS_BETTER: bool
    BAND: str
    NEEDS: str
    SPEECH_ONLY: bool
    QUICK: bool

    def measure(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        """Return the score of `degraded` against `reference`, each [N]."""


def metric(key: str) -> Metric:
    """Import the module of a metric by its name; raises ValueError if it is unknown."""
    if key not in ALL:
        raise ArgumentError(f"{key}: no such metric (known: {', '.join(ALL)})")
    return cast(Metric, importlib.import_module(f".{key}", __package__))


def score(key: str, reference: np.ndarray, degraded: np.ndarray, sample_rate: int, kind: str) -> tuple[float | None, str]:
    """Return (score, ''), or (None, reason) if there is no score. Never raises for the signals."""
    chosen = metric(key)
    if chosen.SPEECH_ONLY and kind != "speech":
        return None, "for speech only"
    if not (np.isfinite(reference).all() and np.isfinite(degraded).all()):
        return None, "samples are not finite numbers"
    if len(reference) < MIN_SECONDS * sample_rate:
        return None, f"the clip is shorter than {MIN_SECONDS:g} s"
    if np.abs(reference).max() < SILENCE:
        return None, "the reference is silent"
    try:
        value = float(chosen.measure(reference, degraded, sample_rate))
    except ImportError:
        return None, f"needs {chosen.NEEDS}"
    except Exception as error:  # external code on unusual signals: skip one cell instead of ending the run
        return None, f"{type(error).__name__}: {error}"
    return (value, "") if np.isfinite(value) else (None, "the result is not a finite number")
