"""`ecdc models`."""

from __future__ import annotations

import click

from .common import guard
from .terminal_text import dumps, echo


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
def models_command(as_json: bool) -> None:
    """List the bundled models. Give any other model by its path."""
    with guard():
        from ..codec.bundled import models

        for row in models():
            if as_json:
                echo(dumps(row))
            else:
                each = " per channel" if row["channels"] == 1 else ""
                books = f"{row['codebooks']} codebooks of {row['codebook_size']}"
                echo(
                    f"{row['name']:12} {row['sample_rate']} Hz, {row['frame_rate']:g} frames a second, {books}, "
                    f"{row['kbps'][0]:g} to {row['kbps'][-1]:g} kbps{each}, "
                    f"{row['parameters'] / 1e6:.1f} M parameters{' (default)' if row['is_default'] else ''}"
                )
