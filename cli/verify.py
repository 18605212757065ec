"""`ecdc verify`."""

from __future__ import annotations

import click

from .common import each


@click.command("verify")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
def verify_command(inputs: tuple[str, ...]) -> None:
    """Check every byte of .ecdc files ('-' is standard input).

    Silent, with exit code 0, when all are whole; otherwise one line for each that is not, with
    the byte where that shows, and exit code 1. Needs no model. Files of the original EnCodec
    (version 0) have no checksums: of them only the structure can be checked.
    """
    each(inputs, _verify)


def _verify(name: str) -> None:
    from ..format.api import CodeFile
    from ..format.files import input_stream

    with input_stream(name) as stream:
        for _ in CodeFile(stream):
            pass
