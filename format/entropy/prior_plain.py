"""The decoder of prior_kernels.py in numpy: slower per code, but it starts at once.

Loading numba's compiled kernels takes a second, and compiling them several, while this decodes a code in a few dozen
microseconds. float32 holds every sum exactly (prior.py), so the codes are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .prior_scales import EMBEDDING_SHIFT, LARGEST, LIMIT, RECIPROCAL_BITS, RESOLUTION_SHIFT, SHIFT
from .rangecoder import LOW, PRECISION, TOTAL

if TYPE_CHECKING:
    from .prior import Prior

_MASK = TOTAL - 1
EMBEDDING_SCALE = np.float32(1 << EMBEDDING_SHIFT)


def shares_of(logits: NDArray[np.int32], table: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return what `prior_kernels.frequencies` writes, for each of n rows: logits [n, V] -> frequencies [n, V]."""
    best = logits.argmax(axis=1)
    rows = np.arange(len(logits))
    below = (logits[rows, best][:, None] - logits) >> RESOLUTION_SHIFT
    weights = table[np.minimum(below, len(table) - 1)].astype(np.int64)
    factors = ((TOTAL - logits.shape[1]) << RECIPROCAL_BITS) // weights.sum(axis=1)
    shares: NDArray[np.int64] = 1 + ((weights * factors[:, None]) >> RECIPROCAL_BITS)
    shares[rows, best] += TOTAL - shares.sum(axis=1)
    return shares


def intervals(
    logits: NDArray[np.int32], symbols: NDArray[np.uint16], table: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the interval of each of n symbols, given its logits [n, V]: starts and sizes [n]."""
    shares = shares_of(logits, table)
    rows = np.arange(len(symbols))
    return shares.cumsum(axis=1)[rows, symbols] - shares[rows, symbols], shares[rows, symbols]


def decode(
    prior: Prior, state: int, words: NDArray[np.uint32], n_taken: int, codes: NDArray[np.uint16], first: int, stop: int,
    past: NDArray[np.int32],
) -> tuple[int, int]:  # fmt: skip
    """Decode the frames [first, stop) of one stream into codes [K, T]; arguments and result are as in prior_kernels.decode."""
    frame_embedding, book_embedding = prior.arrays["frame_embedding"], prior.arrays["book_embedding"]
    table, books = prior.arrays["table"].astype(np.int64), range(len(codes))
    for t in range(first, stop):
        h = np.zeros(prior.width, np.float32)
        for k in books if t else ():
            h += frame_embedding[k, codes[k, t - 1]] * EMBEDDING_SCALE
        h = _context(prior, t, h, past)
        for k in books:
            hidden = _active(h, -LARGEST) @ prior.matrix("head_mix", k) + prior.matrix("head_mix_bias", k)
            logits = _active(hidden, 0) @ prior.matrix("head_weight", k) + prior.matrix("head_bias", k)
            state, symbol = _take(state, logits.astype(np.int64), table)
            codes[k, t] = symbol
            h += book_embedding[k, symbol] * EMBEDDING_SCALE
            if state < LOW:
                if n_taken == len(words):
                    return state, n_taken + 1
                state = state << 32 | int(words[n_taken])
                n_taken += 1
    return state, n_taken


def _take(state: int, logits: NDArray[np.int64], table: NDArray[np.int64]) -> tuple[int, int]:
    """Return the state after the next symbol, before it takes a word, and that symbol; `logits` [V] are overwritten."""
    best = int(logits.argmax())
    np.subtract(logits[best], logits, out=logits)
    logits >>= RESOLUTION_SHIFT
    shares = table.take(logits, mode="clip")
    shares *= (TOTAL - len(shares) << RECIPROCAL_BITS) // int(shares.sum())
    shares >>= RECIPROCAL_BITS
    shares += 1
    ends = shares.cumsum()
    ends[best:] += TOTAL - ends[-1]
    slot = state & _MASK
    symbol = int(ends.searchsorted(slot, "right"))
    start = int(ends[symbol - 1]) if symbol else 0
    return (int(ends[symbol]) - start) * (state >> PRECISION) + slot - start, symbol


def _context(prior: Prior, t: int, h: NDArray[np.float32], past: NDArray[np.int32]) -> NDArray[np.float32]:
    """Run the layers on the sums h [H] of frame t; past [L, n, H] holds the activations of the last n frames."""
    n_kept = past.shape[1]
    for i, dilation in enumerate(prior.arrays["dilations"].tolist()):
        now = _active(h, -LARGEST)
        past[i, t % n_kept] = now
        hidden = now @ prior.matrix("mix_now", i) + prior.matrix("mix_bias", i)
        if t >= dilation:
            hidden = hidden + past[i, (t - dilation) % n_kept].astype(np.float32) @ prior.matrix("mix_past", i)
        h = h + prior.matrix("out_bias", i) + _active(hidden, 0) @ prior.matrix("out_weight", i)
        np.minimum(np.maximum(h, -LIMIT, out=h), LIMIT, out=h)
    return h


def _active(sums: NDArray[np.float32], low: int) -> NDArray[np.float32]:
    """Return the activations of sums: rounded, between `low` and LARGEST."""
    active = sums * np.float32(1 / (1 << SHIFT))  # exact, as is what follows
    active += np.float32(0.5)
    np.floor(active, out=active)
    np.maximum(active, np.float32(low), out=active)
    np.minimum(active, np.float32(LARGEST), out=active)
    return active
