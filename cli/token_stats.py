"""`ecdc tokens stats`."""

from __future__ import annotations

from typing import Any

import click

from .common import for_each, guard, naming
from .terminal_text import counted, dumps, echo, printable


@click.command("stats")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for all files together.")
def stats_command(inputs: tuple[str, ...], as_json: bool) -> None:
    """Count how often codes occur in .ecdc files of one model, all files together.

    For each codebook, print the number of codes, how many of its entries occur, the entropy in bits
    per code, and the perplexity (2 to the power of the entropy). The entropy treats every code alone;
    a language model, which also sees earlier codes, needs fewer bits. With few codes, the entropy comes
    out too low: give at least ten times as many codes as a codebook has entries. Files that cannot be
    read are reported and skipped; the exit code is then 1.
    """
    from ..format import Reader
    from ..format.files import input_stream
    from ..format.statistics import CodebookUse

    use, n_files = CodebookUse(), 0

    def add(name: str) -> None:
        nonlocal n_files
        with input_stream(name) as stream, naming(name):
            use.add(Reader(stream))
        n_files += 1

    try:
        for_each(inputs, add)
    finally:
        if use.header is not None:
            about = {"files": n_files, "codec": use.header.codec, "token_space": use.header.token_space.hex()}
            row = about | {"streams": use.n_streams, "frame_rate": float(use.header.frame_rate), "codebooks": use.rows()}
            with guard():
                echo(dumps(row) if as_json else _table(row))


def _table(row: dict[str, Any]) -> str:
    lines = [printable(f"{counted(row['files'], 'file')} of {row['codec']}, {counted(row['streams'], 'stream')}")]
    lines.append("codebook      codes         entries  bits per code  perplexity")
    for book in row["codebooks"]:
        used = f"{book['used']} of {book['size']}"
        lines.append(
            f"{book['codebook']:8}  {book['codes']:9}  {used:>14}  {book['entropy_bits']:13.3f}  {book['perplexity']:10.1f}"
        )
    total = sum(book["entropy_bits"] for book in row["codebooks"])
    lines.append(f"all codebooks: {total:.2f} bits per frame, {total * row['frame_rate'] / 1000:.3f} kbps per stream")
    return "\n".join(lines)
