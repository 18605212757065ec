"""The tempo that a prompt names, as a metronome: where in its beat each frame stands."""

from __future__ import annotations

import re

import torch
from torch import Tensor

TEMPO = re.compile(r"(?<![0-9.])([0-9]{2,3}(?:\.[0-9]{1,3})?)[ -]?(?:bpm\b|beats per minute\b)", re.IGNORECASE)
SLOWEST, FASTEST = 20.0, 400.0  # beats per minute


def tempo_of(prompt: str | None) -> float | None:
    """Beats per minute that a prompt names first; None where it names none that music has."""
    named = (float(found[1]) for found in TEMPO.finditer(prompt or ""))
    return next((bpm for bpm in named if SLOWEST <= bpm <= FASTEST), None)


def beat_phases(bpm: float | None, start: int, n_frames: int, frame_rate: int, n_phases: int) -> Tensor:
    """Phases [n_frames], int64 in [0, n_phases), of frames from `start` on at their middles; the first beat is at time 0.

    -1 throughout without a tempo.
    """
    if bpm is None:
        return torch.full((n_frames,), -1)
    beats = (torch.arange(start, start + n_frames, dtype=torch.float64) + 0.5) / frame_rate * (bpm / 60)
    return ((beats % 1) * n_phases).long().clamp(max=n_phases - 1)
