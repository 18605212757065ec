"""The integer scales of a prior's arithmetic, which prior.py, prior_plain.py and prior_kernels.py share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHIFT, EMBEDDING_SHIFT = 6, 4  # bits between a sum and an activation, and between an embedding and a sum
LARGEST, LIMIT = 127, 1 << 20  # largest weight or activation, and largest sum passed from layer to layer
RESOLUTION_SHIFT = 5  # shift from a logit difference to an index of the table of exponentials
RECIPROCAL_BITS = 28  # of the factor that turns exponentials into frequencies

# Limits of sums in float32, divided by 2**SHIFT, plus half.
LOWEST_SUM, HIGHEST_SUM = np.float32(0.5 - LIMIT / (1 << SHIFT)), np.float32(0.5 + LIMIT / (1 << SHIFT))


def active(sums: NDArray[np.float32], low: int) -> NDArray[np.float32]:
    """Return the activations of sums plus half, as `Prior.matrix` scales them: rounded down, between `low` and LARGEST."""
    rounded = np.floor(sums)
    np.maximum(rounded, np.float32(low), out=rounded)
    np.minimum(rounded, np.float32(LARGEST), out=rounded)
    return rounded
