"""The decoder of prior_kernels.py in numpy: slower per code, but it starts at once.

Loading numba's compiled kernels takes a second, and compiling them several, while this decodes a code in a few dozen
microseconds. Floats hold every sum and product exactly (prior.py), so the codes are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .prior_scales import HIGHEST_SUM, LARGEST, LOWEST_SUM, RECIPROCAL_BITS, active
from .rangecoder import LOW, PRECISION, TOTAL

if TYPE_CHECKING:
    from .prior import Prior

_MASK = TOTAL - 1

Floats = NDArray[np.float32]


def shares_of(indices: Floats, table: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return what `prior_kernels.frequencies` writes for each of n rows: logits / 2**RESOLUTION_SHIFT [n, V] -> [n, V]."""
    best = indices.argmax(axis=1)
    rows = np.arange(len(indices))
    below = (indices[rows, best][:, None] - indices).astype(np.intp)
    shares: NDArray[np.float64] = table.astype(np.float64).take(below, mode="clip")
    factors = (TOTAL - indices.shape[1] << RECIPROCAL_BITS) // shares.sum(axis=1).astype(np.int64)
    shares *= (factors * 0.5**RECIPROCAL_BITS)[:, None]  # exact: no product of a weight and its factor reaches 2**53
    np.floor(shares, out=shares)
    shares += 1
    shares[rows, best] += TOTAL - shares.sum(axis=1)
    return shares


def intervals(
    indices: Floats, symbols: NDArray[np.uint16], table: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the interval of each of n symbols, given its logits / 2**RESOLUTION_SHIFT [n, V]: starts and sizes [n]."""
    shares = shares_of(indices, table)
    rows = np.arange(len(symbols))
    sizes = shares[rows, symbols]
    return shares.cumsum(axis=1)[rows, symbols] - sizes, sizes


def decode(
    prior: Prior, state: int, words: NDArray[np.uint32], n_taken: int, codes: NDArray[np.uint16], first: int, stop: int,
    past: NDArray[np.int32],
) -> tuple[int, int]:  # fmt: skip
    """Decode the frames [first, stop) of one stream into codes [K, T]; arguments and result are as in prior_kernels.decode."""
    table, books = prior.arrays["table"].astype(np.float64), range(len(codes))
    names = "head_mix", "head_mix_bias", "head_weight", "head_bias", "book_embedding"
    heads = [tuple(prior.matrix(name, k) for name in names) for k in books]
    embeddings = [prior.matrix("frame_embedding", k) for k in books]
    layers = [prior.matrix(name, ...) for name in ("mix_now", "mix_past", "mix_bias", "out_weight", "out_bias")]
    for t in range(first, stop):
        sums = np.full(prior.width, 0.5, np.float32)
        for k in books if t else ():
            sums += embeddings[k][codes[k, t - 1]]
        sums = _context(t, sums, past, prior.arrays["dilations"], layers)
        for k, (mix, mix_bias, weight, bias, embedding) in enumerate(heads):
            hidden = active(sums, -LARGEST) @ mix
            hidden += mix_bias
            indices = _sparse_product(active(hidden, 0), weight)
            indices += bias
            state, symbol = _take(state, indices, table)
            codes[k, t] = symbol
            sums += embedding[symbol]
            if state < LOW:
                if n_taken == len(words):
                    return state, n_taken + 1
                state = state << 32 | int(words[n_taken])
                n_taken += 1
    return state, n_taken


def _context(
    t: int, sums: Floats, past: NDArray[np.int32], dilations: NDArray[np.int32], layers: list[Floats]
) -> Floats:
    """Run the layers on the sums [H] of frame t, plus half; past [L, n, H] holds the activations of the last n frames."""
    mix_now, mix_past, bias, out, out_bias = layers
    heard = past[np.arange(len(dilations)), (t - dilations) % past.shape[1]]  # zeros before the first frame
    hidden_sums = (heard.astype(np.float32)[:, None] @ mix_past)[:, 0] + bias
    for i, hidden in enumerate(hidden_sums):
        now = active(sums, -LARGEST)
        past[i, t % past.shape[1]] = now
        hidden += now @ mix_now[i]
        sums = sums + _sparse_product(active(hidden, 0), out[i])
        sums += out_bias[i]
        np.maximum(sums, LOWEST_SUM, out=sums)
        np.minimum(sums, HIGHEST_SUM, out=sums)
    return sums


def _sparse_product(x: Floats, matrix: Floats) -> Floats:
    """Return x [i] @ matrix [i, o]. Most activations are zero: only the rows of the others are read."""
    kept = x.nonzero()[0]
    product: Floats = x.take(kept) @ matrix.take(kept, axis=0)
    return product


def _take(state: int, indices: Floats, table: NDArray[np.float64]) -> tuple[int, int]:
    """Return the state after the next symbol, before it takes a word, and that symbol. See `shares_of`."""
    best = int(indices.argmax())
    below = np.subtract(indices[best], indices, out=indices)
    shares = table.take(below.astype(np.intp), mode="clip")
    shares *= (TOTAL - len(shares) << RECIPROCAL_BITS) // int(shares.sum()) * 0.5**RECIPROCAL_BITS
    np.floor(shares, out=shares)
    shares += 1
    ends = shares.cumsum()
    ends[best:] += TOTAL - ends[-1]
    slot = state & _MASK
    symbol = int(ends.searchsorted(float(slot), "right"))
    start = int(ends[symbol - 1]) if symbol else 0
    return (int(ends[symbol]) - start) * (state >> PRECISION) + slot - start, symbol
