"""Remove drums and bass from a melody with the `demucs` package, if it is installed (`pip install demucs`).

MusicGen represents a melody by the strongest pitch class of each frame, so accompaniment misleads it. The original separates
the audio first and keeps the vocals and everything that is neither drums nor bass.
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
    """Separation is not available; says why in one line."""


def separated(sound: Sound) -> Sound:
    """Return the sum of the stems that carry a melody, in stereo at the separator's rate.

    Deterministic, while the original also shifts the audio by a random part of half a second. Raises SeparationError if demucs
    or its model is not available.
    """
    model, apply = _separator()
    audio = np.broadcast_to(sound.audio, (2, sound.audio.shape[1])) if len(sound.audio) == 1 else sound.audio
    audio = resample_all(np.ascontiguousarray(audio), sound.sample_rate, model.samplerate).astype(np.float32)
    stems = apply(model, torch.from_numpy(audio)[None], shifts=0, progress=False)[0]  # [stems, 2, N]
    kept = [model.sources.index(name) for name in KEPT]
    return Sound(stems[kept].sum(dim=0).numpy(), model.samplerate)


def _separator() -> tuple[Any, Any]:
    """Return demucs' model, and the function that applies it."""
    try:
        from demucs.apply import apply_model
        from demucs.pretrained import get_model
    except ImportError as error:
        raise SeparationError("separating a melody needs demucs: pip install demucs") from error
    try:
        return get_model(MODEL), apply_model
    except (Exception, SystemExit) as error:  # from network and files: many types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SeparationError(f"demucs has no {MODEL} here: {reason}") from error
