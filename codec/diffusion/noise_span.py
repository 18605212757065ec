"""Noise that depends only on its key and its position. Needs no torch."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 14  # samples drawn at once


def noise_span(key: list[int], first: int, n: int) -> np.ndarray:
    """Return the samples [first, first + n) of an endless noise signal, float32 [n]."""
    start = first // BLOCK
    blocks = [
        np.random.default_rng([*key, block]).standard_normal(BLOCK, dtype=np.float32)
        for block in range(start, (first + n - 1) // BLOCK + 1)
    ]
    return np.concatenate(blocks)[first - start * BLOCK :][:n]
