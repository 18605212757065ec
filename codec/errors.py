"""The errors of this layer that several files raise, together with the errors of the container format."""

from typing import NamedTuple

from ..format.errors import (
    ArgumentError,
    ClosedError,
    Corrupt,
    DamagedHeader,
    EcdcError,
    FormatError,
    MissingPrior,
    NotEcdc,
    OverLimit,
    Truncated,
    UnsupportedVersion,
    WrongModel,
)

__all__ = [
    "ArgumentError", "AudioError", "CheckpointError", "ClosedError", "Corrupt", "Damage", "DamagedHeader", "EcdcError",
    "FormatError", "MissingPrior", "NotEcdc", "OverLimit", "Truncated", "UnsupportedVersion", "WrongModel",
]  # fmt: skip


class CheckpointError(EcdcError, ValueError):
    """A model cannot be loaded; one line with what was expected and what was found."""


class AudioError(EcdcError, ValueError):
    """Audio cannot be read or written; one line: what, where, what to do."""


class Damage(NamedTuple):
    """What is wrong with a recording, and at which second; None: after what was read so far."""

    reason: str
    seconds: float | None = None
