"""The errors of this layer that more than one file raises, and with them those of files."""

from typing import NamedTuple

from ..format.errors import (
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
    "AudioError", "CheckpointError", "Corrupt", "Damage", "DamagedHeader", "EcdcError", "FormatError", "MissingPrior",
    "NotEcdc", "OverLimit", "Truncated", "UnsupportedVersion", "WrongModel",
]  # fmt: skip


class CheckpointError(EcdcError, ValueError):
    """A model that cannot be loaded; one line that says what was wanted and what was found."""


class AudioError(EcdcError, ValueError):
    """Audio that cannot be read or written; one line: what, where, what to do."""


class Damage(NamedTuple):
    """What is wrong with a recording, and the second where it breaks; None: after what was read so far."""

    reason: str
    seconds: float | None = None
