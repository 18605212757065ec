"""Turn the tempo in a prompt into a metronome: the position of each frame within its beat."""

from __future__ import annotations

import re

import torch
from torch import Tensor

TEMPO = re.compile(r"(?<![0-9.])([0-9]{2,3}(?:\.[0-9]{1,3})?)[ -]?(?:bpm\b|beats per minute\b)", re.IGNORECASE)
SLOWEST, FASTEST = 20.0, 400.0  # beats per minute


def tempo_of(prompt: str | None) -> float | None:
    """Return the first tempo in a prompt (beats per minute) within the range of music, or None."""
    named = (float(found[1]) for found in TEMPO.finditer(prompt or ""))
    return next((bpm for bpm in named if SLOWEST <= bpm <= FASTEST), None)


def beat_phases(bpm: float | None, start: int, n_frames: int, frame_rate: int, n_phases: int) -> Tensor:
    """Return phases [n_frames], int64 in [0, n_phases), at the middle of each frame from `start` on. Beat 0 is at time 0.

    All phases are -1 if there is no tempo.
    """
    if bpm is None:
        return torch.full((n_frames,), -1)
    beats = (torch.arange(start, start + n_frames, dtype=torch.float64) + 0.5) / frame_rate * (bpm / 60)
    return ((beats % 1) * n_phases).long().clamp(max=n_phases - 1)
