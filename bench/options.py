"""Types of options, and options that many benches share. Needs nothing but click, so that help is shown at once."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click


class Number(click.types.FloatParamType):
    """A finite float. NaN is rejected explicitly: comparisons with bounds do not detect it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse `value`; a usage error says what is expected."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Finite(Number, click.FloatRange):
    """A finite float within bounds."""


class NewFile(click.Path):
    """A file to be written at the end, possibly after hours: its folder must exist and be writable from the beginning."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check `value`; a usage error says why the file could not be written."""
        path = Path(str(super().convert(value, param, ctx)))
        if path.is_dir():
            self.fail(f"{path}: is a folder; name a file", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        if not os.access(path.parent, os.W_OK):
            self.fail(f"{path}: the folder {path.parent} cannot be written to", param, ctx)
        return path


SECONDS = Finite(0, 36_000, min_open=True)
MINUTES, HOURS = Finite(0, 6_000, min_open=True), Finite(0, 100, min_open=True)
KBPS = Finite(0, 1_000, min_open=True)
COUNT = click.IntRange(1, 1_000_000)
SEED = click.IntRange(0, 2**31 - 1)
NEW_FILE = NewFile()
