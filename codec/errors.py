"""Errors of this layer that more than one file raises."""

from typing import NamedTuple


class CheckpointError(ValueError):
    """A model that cannot be loaded; one line that says what was wanted and what was found."""


class AudioError(ValueError):
    """Audio that cannot be read or written; one line: what, where, what to do."""


class Damage(NamedTuple):
    """What is wrong with a recording, and the second where it breaks; None: after what was read so far."""

    reason: str
    seconds: float | None = None
