"""The directions in which codebooks have their energy: a basis in which a search can leave out the last coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Exact = NDArray[np.float64]


def strongest_first(codebooks: NDArray[np.float32]) -> Exact:
    """Return an orthonormal basis [D, D] of codebooks [K, V, D]: columns in descending order of the energy in them.

    Every codebook counts as much, whatever its scale.
    """
    moments = (codebooks.transpose(0, 2, 1) @ codebooks).astype(np.float64)
    energy = np.trace(moments, axis1=1, axis2=2)
    moments /= np.maximum(energy, np.finfo(np.float64).tiny)[:, None, None]
    _, directions = np.linalg.eigh(moments.sum(axis=0))
    return np.ascontiguousarray(directions[:, ::-1])
