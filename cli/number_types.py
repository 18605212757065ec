"""Number types for options."""

from __future__ import annotations

import math
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
