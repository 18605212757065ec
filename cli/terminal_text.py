"""Text output that is safe for a terminal: no control characters, nothing invisible."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import click

JOINERS = "\u200c\u200d"  # invisible, but parts of words and of emoji


def printable(text: str, kept: str = "") -> str:
    """Return `text` with control and invisible characters escaped, except those in `kept`.

    Names of files and tags are untrusted: they may contain an escape sequence, or a line break that fakes a second line.
    """
    return "".join(
        c if c in kept or c in JOINERS or (unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029") else _escaped(c)
        for c in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, which takes an s unless the number is one."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def echo(text: str, err: bool = False) -> None:
    """Print text. Line breaks and tabs are kept, other control characters are escaped.

    Values from files must go through `printable` first. Raises OSError that names the stream if it cannot be written.
    """
    try:
        click.echo(printable(text, kept="\n\t"), err=err)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard error" if err else "standard output") from error


def dumps(row: Any) -> str:
    """Return one line of JSON in printable ASCII."""
    return json.dumps(row).replace("\x7f", "\\u007f")
