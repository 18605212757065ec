"""`ecdc repair`."""

from __future__ import annotations

import click

from .edit import opened, output_options


@click.command("repair")
@click.argument("input", metavar="INPUT")
@output_options
def repair_command(input: str, output: str, force: bool) -> None:
    """Write a valid file from what survives of a damaged one.

    Lost chunks become silence of the same length; a line on stderr tells each.
    """
    from ..format.salvage import repair

    with opened((input,), output, force) as ((reader,), stream):
        lost = repair(reader, stream)
        header = reader.header
    for item in lost:
        click.echo(f"ecdc: {input}: {item.describe(header)}", err=True)
