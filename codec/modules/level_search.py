"""The closed-loop search of a level quantizer, frame by frame. Compiled, because each frame depends on the previous one."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def track(rest, book, half_norms, taps, past, codes):
    """Run one codebook over one item: residual rest [T, F] (updated), book [V, F], taps [n, F, F], past [n, F]."""
    n_taps, n_levels = past.shape
    wanted = np.empty(n_levels)
    for t in range(len(rest)):
        wanted[:] = rest[t]
        for i in range(n_taps):  # taps[i] applies to the entry i + 1 frames ago
            wanted -= np.dot(taps[i], past[n_taps - 1 - i])
        scores = np.dot(book, wanted) - half_norms
        best = np.argmax(scores)
        codes[t] = best
        rest[t] = wanted - book[best]
        for i in range(n_taps - 1):
            past[i] = past[i + 1]
        past[n_taps - 1] = book[best]
