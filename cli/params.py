"""Kinds of numbers that options take."""

from __future__ import annotations

import math
from typing import Any

import click


class Finite(click.FloatRange):
    """A float within bounds, if any; never infinite, and never NaN, which passes every comparison by failing it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse; a usage error says what is expected."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number
