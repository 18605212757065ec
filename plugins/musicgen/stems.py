"""A melody without drums and bass, by the `demucs` package where it is installed (`pip install demucs`).

MusicGen's melodies are the strongest pitch class of each moment, so that what accompanies them misleads. The original
separates them first: vocals and everything that is neither drums nor bass stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...codec.audio import resample_all
from ...format.errors import EcdcError
from ..generators import Sound

MODEL, KEPT = "htdemucs", ("vocals", "other")


class SeparationError(EcdcError, ValueError):
    """There is no separation here; says why in one line."""


def separated(sound: Sound) -> Sound:
    """The stems of a sound that carry a melody, added up, in stereo at the separator's rate.

    Nothing of it is random: the original also shifts the sound by a random part of half a second. Raises SeparationError
    where demucs or its model is not here.
    """
    model, apply = _separator()
    audio = np.broadcast_to(sound.audio, (2, sound.audio.shape[1])) if len(sound.audio) == 1 else sound.audio
    audio = resample_all(np.ascontiguousarray(audio), sound.sample_rate, model.samplerate).astype(np.float32)
    stems = apply(model, torch.from_numpy(audio)[None], shifts=0, progress=False)[0]  # [stems, 2, N]
    kept = [model.sources.index(name) for name in KEPT]
    return Sound(stems[kept].sum(dim=0).numpy(), model.samplerate)


def _separator() -> tuple[Any, Any]:
    """demucs' model, and the function that applies it."""
    try:
        from demucs.apply import apply_model
        from demucs.pretrained import get_model
    except ImportError as error:
        raise SeparationError("separating a melody needs demucs: pip install demucs") from error
    try:
        return get_model(MODEL), apply_model
    except (Exception, SystemExit) as error:  # of the network and of files: many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SeparationError(f"demucs has no {MODEL} here: {reason}") from error
