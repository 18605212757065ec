"""What an integer product needs around it, in one pass each: torch would take longer over these than over the product."""

from __future__ import annotations

import numpy as np

from ...format.jit import kernel

LARGEST = 32_600  # integer of an input: sixteen bits, but for the offsets of their bytes
OFFSET = 128 * 257 + 0.5  # of integers, so that both bytes are positive; halves round up

REORDER = {"nnan", "nsz", "reassoc"}  # a maximum may be found in any order


def _split(rows: np.ndarray, pairs: np.ndarray, largest: np.ndarray) -> None:
    """Scale each of float32 rows [R, I] to integers 256 (h - 128) + (l - 128).

    Writes their bytes l and h to uint8 `pairs` [2, R, I], and to float32 `largest` [R] the magnitude that is 32 600.
    """
    for r in range(rows.shape[0]):
        most = np.float32(1e-30)
        for i in range(rows.shape[1]):
            most = max(most, abs(rows[r, i]))
        largest[r] = most
        scale = np.float32(LARGEST) / most
        for i in range(rows.shape[1]):
            integer = np.uint32(rows[r, i] * scale + np.float32(OFFSET))
            pairs[0, r, i] = np.uint8(integer & 255)
            pairs[1, r, i] = np.uint8(integer >> 8)


def _join(products: np.ndarray, largest: np.ndarray) -> None:
    """Put the products of both bytes, float32 [2 R, O], together: the first R rows become (low + 256 high) largest."""
    n_rows = len(largest)
    for r in range(n_rows):
        for o in range(products.shape[1]):
            products[r, o] = (products[r, o] + np.float32(256) * products[n_rows + r, o]) * largest[r]


split = kernel(_split, fastmath=REORDER)
join = kernel(_join, fastmath=REORDER)
