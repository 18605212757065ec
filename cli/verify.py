"""`ecdc verify`."""

from __future__ import annotations

import click

from .common import for_each
from .terminal_text import echo, printable


@click.command("verify")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
def verify_command(inputs: tuple[str, ...]) -> None:
    """Check every byte of .ecdc files ('-' is standard input).

    If all files are intact, prints nothing and exits with 0. Otherwise prints one line for each
    faulty file, with the byte offset of the fault, and exits with 1. Needs no model. If an entropy
    prior is missing, a line says that the codes were checked only by their CRCs. Files of the
    original EnCodec (version 0) have no checksums, so only their structure is checked.
    """
    for_each(inputs, _verify)


def _verify(name: str) -> None:
    from ..format import Reader, read_v0
    from ..format.bytestream import look_ahead
    from ..format.files import input_stream
    from ..format.header import major_version

    with input_stream(name) as opened:
        start, stream = look_ahead(opened, 5)
        if major_version(start) == 0:
            read_v0(stream)
            return
        missing = Reader(stream).verify()
        if missing:
            prior = missing.wanted.hex()
            line = f"ecdc: {name}: every CRC is right; the codes were not read, because the prior {prior} is missing"
            echo(printable(line), err=True)
