"""`ecdc verify`."""

from __future__ import annotations

import re
from typing import Any

import click

from ..format.errors import FormatError
from .common import describe, expected_errors, for_each
from .terminal_text import dumps, echo, printable


@click.command("verify")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file, faulty ones included.")
def verify_command(inputs: tuple[str, ...], as_json: bool) -> None:
    """Check every byte of .ecdc files ('-' is standard input).

    If all files are intact, prints nothing and exits with 0. Otherwise prints one line for each
    faulty file, with the byte offset of the fault, and exits with 1. Needs no model. If an entropy
    prior is missing, a line says that the codes were checked only by their CRCs. Files of the
    original EnCodec (version 0) have no checksums, so only their structure is checked.

    \b
    The keys of --json:
      file     the input
      intact   true or false
      checked  "codes", "checksums" (no prior) or "structure" (version 0); null if not intact
      fault    null, or its kind, such as "truncated", "corrupt", "not_ecdc" or "unreadable"
      byte     offset of the fault in bytes; null if the fault has no place
      message  null, or the fault in words

    With --json, the lines on standard error and the exit codes stay the same.
    """

    def work(name: str) -> None:
        try:
            checked = _verify(name)
        except expected_errors() as error:
            if as_json:
                echo(dumps(_row(name, error)))
            raise
        if as_json:
            echo(dumps(_row(name, checked)))

    for_each(inputs, work)


def _verify(name: str) -> str:
    """Check one input and return what was checked: codes, checksums or structure. Raises FormatError or OSError."""
    from ..format import Reader, read_v0
    from ..format.bytestream import look_ahead
    from ..format.files import input_stream
    from ..format.header import major_version

    with input_stream(name) as opened:
        start, stream = look_ahead(opened, 5)
        if major_version(start) == 0:
            read_v0(stream)
            return "structure"
        missing = Reader(stream).verify()
        if missing is None:
            return "codes"
        prior = missing.wanted.hex()
        line = f"ecdc: {name}: every CRC is right; the codes were not read, because the prior {prior} is missing"
        echo(printable(line), err=True)
        return "checksums"


def _row(name: str, found: str | BaseException) -> dict[str, Any]:
    """Return the result of one input: `found` is what `_verify` returned or raised."""
    if isinstance(found, str):
        return {"file": name, "intact": True, "checked": found, "fault": None, "byte": None, "message": None}
    row = {"file": name, "intact": False, "checked": None, "fault": "unreadable", "byte": None, "message": describe(found)}
    if isinstance(found, FormatError):
        fault = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(found).__name__).lower()
        row |= {"fault": fault, "byte": found.offset, "message": found.message}
    return row
