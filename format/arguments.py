"""Check what callers give: numbers, paths, file objects. Every error is an ArgumentError with what was wanted and what came."""

from __future__ import annotations

import contextlib
import math
import operator
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError

MOST_ITEMS = 1 << 20  # of a batch


def whole_number(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return an integer of Python or numpy as an int. Raises ArgumentError for all else, and outside of [least, most]."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be a whole number, got {described(value)}") from None
    if (least is not None and number < least) or (most is not None and number > most):
        limits = f"{least} or more" if most is None else f"at most {most}" if least is None else f"{least} to {most}"
        raise ArgumentError(f"{name} must be {limits}, got {described(value)}")
    return number


@contextlib.contextmanager
def enough_memory(name: str, value: int) -> Iterator[None]:
    """Turn the errors of numpy and torch for memory that there is not into an ArgumentError that names the argument."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory|not enough memory", str(error)):
            raise
        raise ArgumentError(f"{name} {value} needs more memory than there is") from None


def finite_number(name: str, value: Any, least: float | None = None) -> Fraction:
    """Return a real number exactly. Raises ArgumentError for all else, for NaN and infinity, and below `least`."""
    try:
        if isinstance(value, str | bytes) or not math.isfinite(value):
            raise ValueError
        number = Fraction(value) if isinstance(value, int | float | Fraction) else Fraction(float(value))
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name} must be a finite number, got {described(value)}") from None
    if least is not None and number < least:
        raise ArgumentError(f"{name} must be {least:g} or more, got {described(value)}")
    return number


def readable(value: Any) -> Any:
    """Return a binary file object. Raises ArgumentError for all else, also for a file that gives text."""
    if not hasattr(value, "read"):
        raise ArgumentError(f"a binary file object is needed, got {described(value)}; ecdc.open takes a path, too")
    if hasattr(value, "encoding"):
        raise ArgumentError("a binary file object is needed, got one of text: open the file with mode 'rb'")
    return value


def array_of(codes: Any) -> NDArray[Any]:
    """Return codes as an array. Raises ArgumentError for lists of several lengths."""
    try:
        return np.asarray(codes)
    except ValueError:
        raise ArgumentError(f"codes must be integers [R, T], got {described(codes)}") from None


def described(value: Any) -> str:
    """Return a value as one short line for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def path_name(value: Any) -> str:
    """Return a path as text. Raises ArgumentError for all else, and for names that no file can have."""
    if not isinstance(value, str | os.PathLike) or not isinstance(name := os.fspath(value), str):
        raise ArgumentError(f"a path is needed, got {described(value)}")
    try:
        has_zero = b"\0" in os.fsencode(name)
    except UnicodeEncodeError:
        has_zero = True
    if has_zero:
        raise ArgumentError(f"no file can have the name {described(name)}")
    return name
