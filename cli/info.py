"""`ecdc info`."""

from __future__ import annotations

import json
from typing import Any

import click

from .common import each


@click.command("info")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
def info_command(inputs: tuple[str, ...], as_json: bool) -> None:
    """Describe .ecdc files ('-' is standard input) without decoding them.

    Reads headers and the index only; `ecdc verify` checks every byte.
    """
    from ..format.summary import open_summary

    def describe(name: str) -> None:
        row = {"file": name, **open_summary(name)}
        click.echo(json.dumps(row) if as_json else _page(row))

    each(inputs, describe)


def _page(row: dict[str, Any]) -> str:
    """One fact a line; tags have lines of their own, and what is not known has none."""
    facts = {key.replace("_", " "): value for key, value in row.items() if key != "tags" and value not in (None, [])}
    facts |= {f"tag {key}": repr(value) for key, value in row.get("tags", {}).items()}
    width = max(map(len, facts))
    return "\n".join(f"{key:{width}}  {value}" for key, value in facts.items())
