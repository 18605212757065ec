"""Errors that a stream can cause: one class for each different reaction of the user."""

from __future__ import annotations


class EcdcError(Exception):
    """The root of all errors that ecdc raises on purpose. Most have a second base, such as ValueError.

    `part` is the number, from 0, of the input at fault, where a function takes several.
    """

    part: int | None = None


class ArgumentError(EcdcError, ValueError):
    """A value that a function or a command was given is not one that it takes."""


class ClosedError(EcdcError, RuntimeError):
    """A stream, or one of its two directions, is used after its end."""


class FormatError(EcdcError):
    """A stream cannot be read. `offset` is where the fault was found, in bytes from the start of the stream.

    `advice` tells the user what to try next; it is empty if nothing helps.
    """

    advice = ""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(offset, message)  # both arguments, so that the error can be pickled between processes
        self.offset = offset
        self.message = message

    def __str__(self) -> str:
        return f"byte {self.offset}: {self.message}"


class NotEcdc(FormatError):
    """The bytes are not in .ecdc format."""


class UnsupportedVersion(FormatError):
    """The stream is in .ecdc format, but uses something that this version does not support."""


class Truncated(FormatError):
    """The stream ends too early; everything before the offset is complete."""

    advice = "`ecdc repair` and `ecdc decode --partial` keep what is intact"


class Corrupt(FormatError):
    """The bytes contradict a checksum, the specification, or each other."""

    advice = "`ecdc repair` and `ecdc decode --partial` keep what is intact"


class DamagedHeader(Corrupt):
    """The header's bytes contradict its checksum; the chunks after it may be intact."""

    advice = "`ecdc repair --like OTHER` takes the header of a file with the same model and settings"


class OverLimit(FormatError):
    """A field holds a number outside the limits of the specification."""


class MissingPrior(FormatError):
    """The codes need an entropy prior that is not installed; `wanted` is its SHA-256."""

    def __init__(self, offset: int, message: str, wanted: bytes = b"") -> None:
        super().__init__(offset, message)
        self.wanted = wanted


class WrongModel(FormatError):
    """The codes belong to another token space than the given model."""
