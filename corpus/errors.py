"""Errors of this layer, and the import of optional libraries."""

from __future__ import annotations

import errno
import json
import math
from importlib import import_module
from typing import Any

from ..format.errors import EcdcError

FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class CorpusError(EcdcError, ValueError):
    """A corpus cannot be made or read; one line: what is wrong, where, what to do."""


class MissingLibrary(CorpusError, ImportError):
    """An optional library is needed and not installed; one line with the command that installs it."""


def library(name: str, extra: str, what: str) -> Any:
    """Import an optional module. Raises MissingLibrary if it is not installed: `what` needs it, `extra` installs it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise
        raise MissingLibrary(f"{what} needs {package}, which is not installed: pip install -e '.[{extra}]'") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for all else, also for nesting and numbers beyond Python's limits."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def check_fields(found: Any, types: dict[str, type]) -> None:
    """Raise ValueError unless `found` is a dict that has these fields with values of these types; `float` is any finite number.

    Integers must not be negative.
    """
    if not isinstance(found, dict):
        raise ValueError("must be a JSON object")
    for name, kind in types.items():
        value = found.get(name)
        is_right = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
        if not is_right or (isinstance(value, int | float) and not 0 <= value < math.inf):
            raise ValueError(f"{name} is missing or wrong")


def is_fatal(error: BaseException) -> bool:
    """Return True if an error concerns the machine rather than one file: a full disk, no memory, too many open files."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in FATAL)


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
