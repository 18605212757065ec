"""`ecdc repair`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from .common import InputError, check_output, guard
from .edit import opened, output_options
from .terminal_text import echo, printable

if TYPE_CHECKING:
    from ..format.salvage import Headless


@click.command("repair")
@click.argument("input", metavar="INPUT")
@click.option("--like", metavar="FILE", help="Use the header of this .ecdc file, if INPUT's own is damaged.")
@output_options
def repair_command(input: str, like: str | None, output: str, force: bool) -> None:
    """Write a valid file from the intact parts of a damaged one.

    Lost chunks become silence of the same length; each is reported on stderr. If the header
    itself is damaged, use --like to take the header from another file with the same model and
    settings; its tags are not copied.
    """
    from ..format.salvage import repair

    with opened((input,), output, force) if like is None else _headless(input, like, output, force) as ((reader,), stream):
        lost = repair(reader, stream)
        header = reader.header
    for item in lost:
        echo(printable(f"ecdc: {input}: {item.describe(header)}"), err=True)


@contextlib.contextmanager
def _headless(name: str, like: str, output: str, force: bool) -> Iterator[tuple[list[Headless], BinaryIO]]:
    """Yield the input with the header of the file `like`, and the output stream, as `opened` does."""
    with guard(name), contextlib.ExitStack() as stack:
        check_output((name, like), output, force)
        from ..format import Reader
        from ..format.files import input_stream, output_stream
        from ..format.salvage import Headless

        if like == "-":
            raise InputError("--like: needs a file")
        with guard(like):
            header = Reader(stack.enter_context(input_stream(like))).header
        source = Headless(stack.enter_context(input_stream(name)), header)
        with output_stream(output, force) as stream:
            yield [source], stream
