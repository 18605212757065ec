"""What streams through an EnCodec model keep between two calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .states import Arrays


@dataclass
class SeanetState:
    """What a streaming encoder or decoder keeps between two calls."""

    pending: NDArray[np.float32]  # [B, ..., n, ...]: rows that were not yet given to the graph
    axis: int  # of the rows in `pending`
    rows_per_frame: int
    least: int  # frames of the first block
    past: Arrays | None  # inputs of the graph; None for graphs that take whole signals
    causal: bool
    started: bool = False


def first_graph_past(session: Any, batch_size: int) -> Arrays:
    """Return the state before a signal: no rows, and zeros in the recurrent layers."""
    past: Arrays = {}
    for value in session.get_inputs():
        if value.name not in ("wav", "latents", "first", "last"):
            is_recurrent = value.shape[0] == 1  # [1, B, C]; all others are [B, C, n]
            shape = (1, batch_size, value.shape[2]) if is_recurrent else (batch_size, value.shape[1], 0)
            past[value.name] = np.zeros(shape, np.float32)
    return past
