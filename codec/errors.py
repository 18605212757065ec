"""Errors of this layer that more than one file raises."""


class CheckpointError(ValueError):
    """A model that cannot be loaded; one line that says what was wanted and what was found."""


class AudioError(ValueError):
    """Audio that cannot be read or written; one line: what, where, what to do."""
