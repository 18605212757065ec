"""The kernels of prior.py that process one code at a time. Import this module only when needed: it imports numba.

Every sum is exact in 32 bits: activations and weights are at most 127, and prior.py limits the number of terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jit import compile_now
from .prior_scales import EMBEDDING_SHIFT, LARGEST, LIMIT, RECIPROCAL_BITS, RESOLUTION_SHIFT, SHIFT
from .rangecoder import LOW, PRECISION, TOTAL

HALF = 1 << SHIFT - 1
_MASK = TOTAL - 1
BLOCK = 32  # frequencies that are added at once


@compile_now
def _add_product(out: NDArray[np.int32], weights: NDArray[np.int8], x: NDArray[np.int32]) -> None:
    """Add x [i] @ weights [i, o] to out [o]."""
    for i in range(len(x)):
        value = x[i]
        if value != 0:
            for o in range(len(out)):
                out[o] += np.int32(weights[i, o]) * value


@compile_now
def _quantize(sums: NDArray[np.int32], out: NDArray[np.int32], low: int) -> None:
    """Write the activations of `sums` to `out`: rounded, between `low` and LARGEST."""
    for i in range(len(sums)):
        out[i] = min(max((sums[i] + HALF) >> SHIFT, low), LARGEST)


@compile_now
def _add_embedding(sums: NDArray[np.int32], embedding: NDArray[np.int8]) -> None:
    for i in range(len(sums)):
        sums[i] += np.int32(embedding[i]) << EMBEDDING_SHIFT


@compile_now
def frequencies(logits: NDArray[np.int32], table: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Write frequencies [V] proportional to the exponentials of logits [V] to `out`: each at least 1, with sum TOTAL.

    Each loop does one thing, because the compiler turns such loops into vector instructions. Products of an exponential and
    the factor have less than 53 bits, so float64 holds them exactly.
    """
    highest, last, total = logits[0], len(table) - 1, np.int64(0)
    for v in range(len(logits)):
        highest = max(highest, logits[v])
    for v in range(len(logits)):
        out[v] = table[min((highest - logits[v]) >> RESOLUTION_SHIFT, last)]
    for v in range(len(logits)):
        total += out[v]
    factor = ((np.int64(TOTAL - len(logits)) << RECIPROCAL_BITS) // total) * 0.5**RECIPROCAL_BITS
    left = np.int32(TOTAL)
    for v in range(len(logits)):
        share = np.int32(1) + np.int32(out[v] * factor)
        out[v] = share
        left -= share
    best = 0
    while logits[best] != highest:
        best += 1
    out[best] += left


@compile_now
def intervals(
    activations: NDArray[np.int32], symbols: NDArray[np.uint16], weights: NDArray[np.int8], bias: NDArray[np.int32],
    table: NDArray[np.int32], starts: NDArray[np.int64], sizes: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write the interval of each of n symbols of one codebook, given its head's activations [n, H], to starts and sizes [n]."""
    logits, shares = np.empty(len(bias), np.int32), np.empty(len(bias), np.int32)
    for i in range(len(symbols)):
        logits[:] = bias
        _add_product(logits, weights, activations[i])
        frequencies(logits, table, shares)
        start = np.int64(0)
        for v in range(symbols[i]):
            start += shares[v]
        starts[i] = start
        sizes[i] = shares[symbols[i]]


@compile_now
def _frame_context(t: int, h: Any, past: Any, dilations: Any, layers: Any) -> None:
    """Run the layers on the sums h [H] of frame t, in place; past [L, n, H] holds the activations of the last n frames."""
    mix_now, mix_past, mix_bias, out_weight, out_bias = layers
    hidden = np.empty(mix_bias.shape[1], np.int32)
    active = np.empty(mix_bias.shape[1], np.int32)
    n_kept = past.shape[1]
    for i in range(len(dilations)):
        now = past[i, t % n_kept]
        _quantize(h, now, -LARGEST)
        hidden[:] = mix_bias[i]
        _add_product(hidden, mix_now[i], now)
        if t >= dilations[i]:
            _add_product(hidden, mix_past[i], past[i, (t - dilations[i]) % n_kept])
        _quantize(hidden, active, 0)
        h += out_bias[i]
        _add_product(h, out_weight[i], active)
        for j in range(len(h)):
            h[j] = min(max(h[j], -LIMIT), LIMIT)


@compile_now
def _take(state: Any, shares: NDArray[np.int32]) -> tuple[Any, int]:
    """Return the state after the next symbol, before it takes a word, and that symbol."""
    slot, symbol, start = state & _MASK, 0, np.int64(0)
    while True:  # whole blocks before the symbol
        block = np.int64(0)
        for v in range(symbol, min(symbol + BLOCK, len(shares))):
            block += shares[v]
        if start + block > slot:
            break
        start += block
        symbol += BLOCK
    while start + shares[symbol] <= slot:
        start += shares[symbol]
        symbol += 1
    return np.int64(shares[symbol]) * (state >> PRECISION) + slot - start, symbol


@compile_now
def decode(
    state: Any, words: NDArray[np.uint32], n_taken: int, codes: NDArray[np.uint16], first: int, stop: int,
    past: NDArray[np.int32], tables: Any, dilations: Any, layers: Any, heads: Any,
) -> tuple[Any, int]:  # fmt: skip
    """Decode the frames [first, stop) of one stream into codes [K, T], whose earlier frames are decoded already.

    `past` is [L, longest dilation + 1, H]: zeros for the first frame, then as the previous call left it. Returns the last
    state and the number of words taken; this is one more than there are words if there are too few.
    """
    frame_embedding, book_embedding, table = tables
    mix, mix_bias, weights, bias = heads
    width = frame_embedding.shape[2]
    h, a, g = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    hidden, logits, shares = np.empty(width, np.int32), np.empty(bias.shape[1], np.int32), np.empty(bias.shape[1], np.int32)
    for t in range(first, stop):
        h[:] = 0
        if t:
            for k in range(len(codes)):
                _add_embedding(h, frame_embedding[k, codes[k, t - 1]])
        _frame_context(t, h, past, dilations, layers)
        for k in range(len(codes)):
            _quantize(h, a, -LARGEST)
            hidden[:] = mix_bias[k]
            _add_product(hidden, mix[k], a)
            _quantize(hidden, g, 0)
            logits[:] = bias[k]
            _add_product(logits, weights[k], g)
            frequencies(logits, table, shares)
            state, symbol = _take(state, shares)
            codes[k, t] = symbol
            _add_embedding(h, book_embedding[k, symbol])
            if state < LOW:
                if n_taken == len(words):
                    return state, n_taken + 1
                state = (state << 32) | np.int64(words[n_taken])
                n_taken += 1
    return state, n_taken
