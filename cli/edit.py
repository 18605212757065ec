"""`ecdc peel`, `cut`, `cat` and `tag`: edit files without a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from .common import TIME, InputError, NamedError, check_output, describe, guard, naming, shown
from .number_types import Number
from .terminal_text import echo, printable

if TYPE_CHECKING:
    from ..format import Reader


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options -o and --force."""
    command = click.option("--force", is_flag=True, help="Overwrite the output.")(command)
    return click.option("-o", "--output", required=True, metavar="FILE", help="Output file, or '-'.")(command)


@contextlib.contextmanager
def opened(names: tuple[str, ...], output: str, force: bool) -> Iterator[tuple[list[Reader], BinaryIO]]:
    """Yield Readers of the inputs, and the output stream; errors end the command with one line."""
    with guard(names[0] if len(names) == 1 else None), contextlib.ExitStack() as stack:
        check_output(names, output, force)
        from ..format import Reader
        from ..format.files import input_stream, output_stream

        if names.count("-") > 1:
            raise InputError("standard input: can be read only once")
        readers = []
        for name in names:
            with naming(name):
                readers.append(Reader(stack.enter_context(input_stream(name))))
        with output_stream(output, force) as stream:
            yield readers, stream


@click.command("peel")
@click.argument("input", metavar="INPUT")
@click.option("--kbps", type=Number(), required=True, help="Bitrate of the whole result, at most.")
@output_options
def peel_command(input: str, kbps: float, output: str, force: bool) -> None:
    """Lower the bitrate by dropping codebooks, without encoding again.

    For a file made by `ecdc encode --effort 0`, the result equals encoding at the lower bitrate with --effort 0.
    """
    from ..format.edit import peel_to

    with opened((input,), output, force) as ((reader,), stream):
        peel_to(reader, stream, kbps)


@click.command("cut")
@click.argument("input", metavar="INPUT")
@click.option("--start", type=TIME, default="0", metavar="TIME", help="Where to begin: seconds, or h:mm:ss.s.")
@click.option("--duration", type=TIME, metavar="TIME", help="How much to cut out. Default: up to the end.")
@output_options
def cut_command(input: str, start: Fraction, duration: Fraction | None, output: str, force: bool) -> None:
    """Cut a part out of a file, without decoding it.

    The two seconds before the part are kept, so that the decoder can settle; decoding drops them.
    """
    from ..format.edit import cut

    with opened((input,), output, force) as ((reader,), stream):
        cut(reader, stream, start, duration)


@click.command("cat")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@output_options
def cat_command(inputs: tuple[str, ...], output: str, force: bool) -> None:
    """Join files of the same token space, in the given order, without decoding them.

    Only whole frames can be joined, so up to a frame of padding stays between two files.
    """
    from ..format.edit import cat
    from ..format.errors import EcdcError

    with opened(inputs, output, force) as (readers, stream):
        try:
            cat(readers, stream)
        except EcdcError as error:
            if error.part is None:
                raise
            raise NamedError(shown(inputs[error.part]), describe(error)) from error


@click.command("tag")
@click.argument("input", metavar="INPUT")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a tag; it replaces all tags of that key.")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove all tags of that key.")
@click.option("-o", "--output", metavar="FILE", help="Output file, or '-'.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def tag_command(input: str, settings: tuple[str, ...], remove: tuple[str, ...], output: str | None, force: bool) -> None:
    """List the tags of a file, or change them: in the file itself, or in a copy with -o.

    --set and --remove may be given more than once; several --set of one key keep all their values.
    The file is replaced in one step when the new one is complete.
    """
    changes: list[tuple[str, str]] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            raise click.UsageError(f"--set takes KEY=VALUE, got {setting!r}")
        changes.append((key, value))
    if not changes and not remove:
        return _list_tags(input)
    if input == "-" and output is None:
        raise click.UsageError("standard input cannot be changed: give an output with -o")
    from ..format.edit import retag

    gone = {*remove, *dict(changes)}
    with _replacing(input) if output is None else opened((input,), output, force) as ((reader,), stream):
        retag(reader, stream, [*((k, v) for k, v in reader.header.tags if k not in gone), *changes])


@contextlib.contextmanager
def _replacing(name: str) -> Iterator[tuple[list[Reader], BinaryIO]]:
    """Yield a Reader of a file, and the output that replaces the file when it is complete."""
    with guard(name):
        from ..format import Reader
        from ..format.files import input_stream, output_stream

        with input_stream(name) as stream, output_stream(name) as output:
            yield [Reader(stream)], output


def _list_tags(name: str) -> None:
    with guard(name):
        from ..format.summary import open_summary

        tags: dict[str, Any] = open_summary(name).get("tags", {})
        for key, values in tags.items():
            for value in values if isinstance(values, list) else [values]:
                echo(printable(f"{key}={value}"))
