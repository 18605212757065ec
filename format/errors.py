"""What can be wrong with a stream, one class per answer that a user needs."""

from __future__ import annotations


class EcdcError(Exception):
    """The root of all errors that ecdc raises on purpose. Most have a second base, such as ValueError."""


class FormatError(EcdcError):
    """A stream cannot be read; `offset` is the byte, counted from the stream's first, where that shows.

    `advice` tells people what to try next, and is empty where nothing helps.
    """

    advice = ""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(offset, message)  # both, so that the error survives pickling between processes
        self.offset = offset
        self.message = message

    def __str__(self) -> str:
        return f"byte {self.offset}: {self.message}"


class NotEcdc(FormatError):
    """The bytes are some other format."""


class UnsupportedVersion(FormatError):
    """The stream is ours, but asks for something that this version does not know."""


class Truncated(FormatError):
    """The stream ends too early; everything before the offset is whole."""

    advice = "try --partial or repair"


class Corrupt(FormatError):
    """The bytes contradict a checksum, the specification, or each other."""

    advice = "try --partial or repair"


class DamagedHeader(Corrupt):
    """The header's bytes contradict its checksum; the chunks after it may be whole."""

    advice = "try repair --like a file of the same model and settings"


class OverLimit(FormatError):
    """A field holds a number outside the limits of the specification."""


class MissingPrior(FormatError):
    """The codes are coded with an entropy prior that is not here; `wanted` is its SHA-256."""

    def __init__(self, offset: int, message: str, wanted: bytes = b"") -> None:
        super().__init__(offset, message)
        self.wanted = wanted


class WrongModel(FormatError):
    """The codes belong to another token space than the model at hand."""
