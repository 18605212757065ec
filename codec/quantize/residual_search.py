"""The greedy search of a residual quantizer, in numpy: float32 finds the few candidates of each step, float64 decides.

The nearest entry e of a vector x has the highest score <x, e> - |e|^2 / 2. In a suitable basis, trained codebooks have nearly
all their energy in the first coordinates, the *head*. The others, the *tail*, add at most |x tail| |e tail| to a score. So a
product over the head and one more coordinate gives an upper bound of each score. An entry is ruled out if this is lower than
the least possible score of the entry with the highest bound.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .directions import strongest_first

Exact = NDArray[np.float64]
Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
MOST_CANDIDATES = 32  # of a vector; for more, a product with all entries is faster and needs less memory
SAMPLED = 8  # every eighth entry is looked at to choose the basis
TAIL_SHARE = 0.0025  # of the energy of each codebook, at most
SEARCHED = 200  # vectors at once
LOUDEST = 1e15  # of a coordinate; beyond it, float32 may overflow


class ResidualSearch:
    """Codebooks [K, V, D] in float32; with `scales` [V], the first code sets the scale of what the others code.

    Ties go to the lowest index.
    """

    def __init__(self, codebooks: Floats, scales: Floats | None = None) -> None:
        n_books, size, dimension = codebooks.shape
        self._codebooks, self._scales = codebooks, None if scales is None else scales.astype(np.float64)
        squares = np.einsum("kvd,kvd->kv", codebooks, codebooks, dtype=np.float64)
        self._half_norms = 0.5 * squares
        self._basis = _head(codebooks[:, ::SAMPLED])
        n_head = self._basis.shape[1]
        self._slack = dimension * 2.0**-22  # of squared lengths in float32
        self._bounds = np.empty((n_books, n_head + 2, size), np.float32)  # the head, -|e|^2 / 2, |e tail|
        for bounds, entries, square in zip(self._bounds, codebooks, squares, strict=True):
            head = np.matmul(self._basis.T, entries.T, out=bounds[:-2])
            bounds[-2] = -0.5 * square
            bounds[-1] = np.sqrt(np.maximum(square - np.einsum("dv,dv->v", head, head), 0) + self._slack * square)
        self._reach = np.sqrt(squares.max(axis=1))  # [K], the longest entry
        self._error = (dimension + n_head) * 2.0**-24 * self._reach  # of a score in float32, per length of the vector

    def __call__(self, vectors: Exact, n_codebooks: int) -> Codes:
        """Return the codes [n_codebooks, M] of vectors [M, D]."""
        codes = np.empty((n_codebooks, len(vectors)), np.int64)
        is_loud = np.abs(vectors).max(axis=1) > LOUDEST
        if np.count_nonzero(is_loud):
            codes[:, ~is_loud] = self(vectors[~is_loud], n_codebooks)
            codes[:, is_loud] = self._in_float64(vectors[is_loud], n_codebooks)
            return codes
        n_rows = min(len(vectors), SEARCHED)
        padded = np.ones((n_rows, self._bounds.shape[1]), np.float32)
        scores = np.empty((n_rows, self._bounds.shape[2]), np.float32)
        for first in range(0, len(vectors), SEARCHED):
            rest = vectors[first : first + SEARCHED].copy()
            room = padded[: len(rest)], scores[: len(rest)]
            for k in range(n_codebooks):
                index = self._nearest(k, rest, *room) if len(rest) > 1 else self._nearest_to_one(k, rest, *room)
                codes[k, first : first + SEARCHED] = index
                rest -= self._codebooks[k].take(index, axis=0)
                if self._scales is not None and k == 0:
                    rest /= self._scales[index, None]
        return codes

    def _in_float64(self, vectors: Exact, n_codebooks: int) -> Codes:
        """Do the same with all entries in float64: for vectors so long that float32 overflows, which no sound has."""
        rest, codes = vectors.copy(), np.empty((n_codebooks, len(vectors)), np.int64)
        for k in range(n_codebooks):
            entries = self._codebooks[k].astype(np.float64)
            codes[k] = (np.einsum("md,vd->mv", rest, entries) - self._half_norms[k]).argmax(axis=1)
            rest -= entries[codes[k]]
            if self._scales is not None and k == 0:
                rest /= self._scales[codes[k], None]
        return codes

    def _nearest(self, k: int, x: Exact, padded: Floats, scores: Floats) -> Codes:
        """Return the nearest entries [M] of vectors [M, D]; `padded` and `scores` are room for factors and products."""
        narrow = x.astype(np.float32)
        head = np.matmul(narrow, self._basis, out=padded[:, :-2])
        squares = np.einsum("md,md->m", narrow, narrow)
        tail = np.sqrt(np.maximum(squares - np.einsum("md,md->m", head, head), 0) + self._slack * squares)
        padded[:, -1] = tail
        np.matmul(padded, self._bounds[k], out=scores)
        index: Codes = scores.argmax(axis=1)
        places = np.arange(len(x)), index
        best = scores[places]
        error = self._error[k] * (np.sqrt(squares) + self._reach[k])
        least = (best - 2 * (error + tail * self._bounds[k, -1, index])).astype(np.float32)
        scores[places] = -np.inf
        is_open = np.maximum.reduce(scores, axis=1) >= least
        if np.count_nonzero(is_open):
            scores[places] = best
            index[is_open] = self._decide(k, x[is_open], scores[is_open] >= least[is_open, None])
        return index

    def _nearest_to_one(self, k: int, x: Exact, padded: Floats, scores: Floats) -> Codes:
        """Do the same for a single vector, with as few calls as possible."""
        narrow, bounds, products = x[0].astype(np.float32), self._bounds[k], scores[0]
        head = np.dot(narrow, self._basis)
        padded[0, :-2] = head
        square = float(narrow @ narrow)
        padded[0, -1] = tail = math.sqrt(max(square - float(head @ head), 0) + self._slack * square)
        np.dot(padded[0], bounds, out=products)
        index = int(products.argmax())
        best = float(products[index])
        least = best - 2 * (self._error[k] * (math.sqrt(square) + self._reach[k]) + tail * float(bounds[-1, index]))
        products[index] = -np.inf
        if np.maximum.reduce(products) >= least:
            products[index] = best
            return self._decide(k, x, scores >= np.float32(least))
        return np.array([index])

    def _decide(self, k: int, x: Exact, is_close: NDArray[np.bool_]) -> Codes:
        """Return the nearest entries of x [M, D] among candidates [M, V] in float64; each vector has at least one."""
        rows, entries = np.divmod(is_close.ravel().nonzero()[0], is_close.shape[1])
        half_norms = self._half_norms[k]
        if len(rows) > MOST_CANDIDATES * len(x):  # codebooks that were never trained
            index: Codes = (x @ self._codebooks[k].T.astype(np.float64) - half_norms).argmax(axis=1)
            return index
        exact = np.einsum("nd,nd->n", x[rows], self._codebooks[k, entries].astype(np.float64)) - half_norms[entries]
        order = np.lexsort((entries, -exact, rows))
        first: Codes = entries[order[rows.searchsorted(np.arange(len(x)))]]
        return first


def _head(codebooks: Floats) -> Floats:
    """Return orthonormal directions [D, n] that hold nearly all energy of every codebook [K, V, D]."""
    basis = strongest_first(codebooks).astype(np.float32)
    spread = np.square(codebooks @ basis).sum(axis=1)
    tail = spread[:, ::-1].cumsum(axis=1)[:, ::-1]  # from each coordinate on
    is_needed = (tail > TAIL_SHARE * tail[:, :1]).any(axis=0)
    return np.ascontiguousarray(basis[:, : max(1, int(np.count_nonzero(is_needed)))])
