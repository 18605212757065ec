"""What the quantizers of both runtimes share: the hash of a token space, and the margin of the float32 search."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The error of a float32 dot product of D terms is at most about D * eps * |x| * |e|, and typically
# grows with sqrt(D). The bound below is the worst case for D = 128, doubled.
SCREEN_TOLERANCE = 2 * 128 * 2.0**-24


def hash_of(arrays: Iterable[NDArray[Any]]) -> bytes:
    """Return the SHA-256 (32 bytes) of the arrays that give codes their meaning, in order.

    What is hashed of each array: its shape as decimals joined by 'x', a newline, and its values
    as little-endian float32.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update("x".join(map(str, array.shape)).encode() + b"\n" + np.ascontiguousarray(array, "<f4").tobytes())
    return digest.digest()
