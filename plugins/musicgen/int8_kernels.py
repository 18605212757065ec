"""The steps before and after an integer product, each in one pass: in torch they would take longer than the product."""

from __future__ import annotations

import numpy as np

from ...format.jit import kernel

LARGEST = 32_600  # integer of an input: sixteen bits, minus room for the offsets of the two bytes
OFFSET = 128 * 257 + 0.5  # added to integers so that both bytes are positive and halves round up

REORDER = {"nnan", "nsz", "reassoc"}  # a maximum may be found in any order


def _split(rows: np.ndarray, pairs: np.ndarray, largest: np.ndarray) -> None:
    """Scale each of the float32 rows [R, I] to integers 256 (h - 128) + (l - 128).

    Writes the bytes l and h to uint8 `pairs` [2, R, I], and each row's largest magnitude, which maps to 32 600, to float32
    `largest` [R].
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
    """Combine the products of both bytes, float32 [2 R, O]: the first R rows become (low + 256 high) largest."""
    n_rows = len(largest)
    for r in range(n_rows):
        for o in range(products.shape[1]):
            products[r, o] = (products[r, o] + np.float32(256) * products[n_rows + r, o]) * largest[r]


split = kernel(_split, fastmath=REORDER)
join = kernel(_join, fastmath=REORDER)
