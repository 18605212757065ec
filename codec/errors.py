"""Errors of this layer that more than one file raises."""


class CheckpointError(ValueError):
    """A model that cannot be loaded; one line that says what was wanted and what was found."""
