"""`ecdc info`."""

from __future__ import annotations

from typing import Any

import click

from .common import for_each
from .terminal_text import dumps, echo, printable


@click.command("info")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
def info_command(inputs: tuple[str, ...], as_json: bool) -> None:
    """Describe .ecdc files ('-' is standard input) without decoding them.

    Reads headers and the index only; `ecdc verify` checks every byte.
    """
    from ..format.summary import open_summary

    n_pages = 0

    def describe(name: str) -> None:
        nonlocal n_pages
        row = {"file": name, **open_summary(name)}
        if n_pages and not as_json:
            echo("")  # between files
        n_pages += 1
        echo(dumps(row) if as_json else _page(row))

    for_each(inputs, describe)


def _page(row: dict[str, Any]) -> str:
    """Format one property per line, then one line per tag value; unknown values are left out."""
    row = row | {"codebooks": ", ".join("+".join(map(str, ks)) for ks in row["codebooks"])}
    shown = [(key, value) for key, value in row.items() if key not in ("tags", "whole") and value not in (None, "")]
    facts = [(key.replace("_", " "), value) for key, value in shown]
    if row["whole"] is False:
        facts.append(("cut off", "yes; `ecdc repair` keeps what is intact"))
    for key, values in row.get("tags", {}).items():
        facts += [(f"tag {key}", repr(value)) for value in (values if isinstance(values, list) else [values])]
    width = max(len(key) for key, _ in facts)
    return "\n".join(printable(f"{key:{width}}  {value}") for key, value in facts)
