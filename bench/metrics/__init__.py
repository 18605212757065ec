"""Quality metrics, one file each; add one by adding its file's name to `ALL`.

A metric is a module with `NAME`, `UNIT`, `HIGHER_IS_BETTER`, `BAND` (the frequencies that it looks at), `NEEDS` (the
package that brings it), `SPEECH_ONLY`, `QUICK` (whether it costs next to nothing) and
`measure(reference, degraded, sample_rate) -> float`. Signals are mono float32 [N] of equal length. `measure` raises
Undefined where the metric has no value; callers want `score`.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import numpy as np

from ...format.errors import EcdcError

ALL = ("visqol", "visqol_speech", "zimtohrli", "pesq", "stoi", "mel", "stft", "si_sdr")
SILENCE = 1e-4  # peak of full scale, under which a reference counts as silent
MIN_SECONDS = 0.5  # less is too little for any of the metrics


class Undefined(EcdcError, ValueError):
    """The metric has no value for these signals; says why."""


class Metric(Protocol):
    """What a metric's module holds."""

    NAME: str
    UNIT: str
    HIGHER_IS_BETTER: bool
    BAND: str
    NEEDS: str
    SPEECH_ONLY: bool
    QUICK: bool

    def measure(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        """The score of `degraded` against `reference`."""


def metric(key: str) -> Metric:
    """The metric's module by its file's name; raises ValueError for an unknown one."""
    if key not in ALL:
        raise ValueError(f"{key}: no such metric (known: {', '.join(ALL)})")
    return cast(Metric, importlib.import_module(f".{key}", __package__))


def score(key: str, reference: np.ndarray, degraded: np.ndarray, sample_rate: int, kind: str) -> tuple[float | None, str]:
    """The score and '', or None and why there is none: never an exception."""
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
    except Exception as error:  # other people's code on odd signals: one cell less, not the end of a run
        return None, f"{type(error).__name__}: {error}"
    return (value, "") if np.isfinite(value) else (None, "the result is not a finite number")
