"""Beam search over the codebooks of a residual quantizer, in numpy, for both runtimes: the same codes.

A greedy search keeps the nearest entry of each codebook. A beam search keeps several paths (sequences of entries) and
extends each of them by its best entries, so an entry that is slightly worse at first can win if later codebooks fit better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common import SCREEN_TOLERANCE

Exact = NDArray[np.float64]
Codes = NDArray[np.int64]
SEARCHED_PATHS = 1024  # at once, so that their scores stay in the processor's cache
GROUP = 32  # entries of a codebook; the best of each group give a lower bound for the best ones of all
LOUDEST = 1e6  # of a coordinate, which no sound reaches: beyond it, squares leave no digits for what paths differ in
ROUNDING = 2.0**-48  # of half a squared length in float64, many times over; more than a score if a codebook is next to nothing
MOST_CANDIDATES = 64  # of a vector, per path that is kept; for more, scores are computed for all entries


@dataclass
class Paths:
    """The paths of N vectors, M of each, best first: what each one leaves over, and its codes so far."""

    rest: Exact  # [N, M, D], divided by the path's scale
    weight: Exact | None  # [N, M], the square of the path's scale; None stands for ones
    codes: Codes  # [N, M, k]


class BeamSearch:
    """Codebooks [K, V, D] in float32; with `scales` [V], the first code sets the scale of what the others code.

    Decides in float64. If paths are equally good, the better one so far wins, then the lower entry.
    """

    def __init__(self, codebooks: NDArray[np.float32], scales: NDArray[np.float32] | None = None) -> None:
        self._exact = codebooks.astype(np.float64)
        self._half_norms = 0.5 * np.einsum("kvd,kvd->kv", self._exact, self._exact)
        self._offsets = self._half_norms.astype(np.float32)
        self._entries = np.ascontiguousarray(codebooks.transpose(0, 2, 1))  # [K, D, V]
        self._reach = np.sqrt(2 * self._half_norms.max(axis=1))  # [K], the longest entry
        self._scales = None if scales is None else scales.astype(np.float64)

    def __call__(self, vectors: Exact, n_codebooks: int, n_paths: int) -> Codes:
        """Return the codes [N, n_codebooks] of vectors [N, D]: those of the path with the smallest squared error at the end."""
        size = max(1, SEARCHED_PATHS // n_paths)
        vectors = np.clip(vectors, -LOUDEST, LOUDEST)
        parts = [self._search(vectors[i : i + size], n_codebooks, n_paths) for i in range(0, len(vectors), size)]
        return np.concatenate([np.zeros((0, n_codebooks), np.int64), *parts])

    def _search(self, vectors: Exact, n_codebooks: int, n_paths: int) -> Codes:
        paths = Paths(vectors[:, None], None, np.zeros((len(vectors), 1, 0), np.int64))
        for k in range(n_codebooks):
            self._extend(k, paths, *self._best(k, paths, 1 if k == n_codebooks - 1 else n_paths))
        return paths.codes[:, 0]

    def _extend(self, k: int, paths: Paths, path: Codes, entry: Codes) -> None:
        """Replace the paths by extended ones: `path` and `entry` are [N, new M]."""
        rows = np.arange(len(path))[:, None]
        paths.rest = paths.rest[rows, path] - self._exact[k, entry]
        paths.codes = np.concatenate([paths.codes[rows, path], entry[..., None]], axis=2)
        if paths.weight is not None:
            paths.weight = paths.weight[rows, path]
        elif k == 0 and self._scales is not None:
            scale = self._scales[entry]
            paths.rest, paths.weight = paths.rest / scale[..., None], np.square(scale)

    def _best(self, k: int, paths: Paths, n_kept: int) -> tuple[Codes, Codes]:
        """Return the best `n_kept` extensions of each vector, best first: numbers of paths and entries, [N, n_kept].

        The value of an extension is weight * (score - half), which is -0.5 times its squared error. Values from scores in
        float32 find the candidates, float64 decides.
        """
        n, n_paths, size = paths.rest.shape
        n_entries = self._exact.shape[1]
        n_kept = min(n_kept, n_paths * n_entries)
        scores = (paths.rest.reshape(-1, size).astype(np.float32) @ self._entries[k]).reshape(n, n_paths, n_entries)
        scores -= self._offsets[k]
        half = 0.5 * np.einsum("nmd,nmd->nm", paths.rest, paths.rest)
        group = math.gcd(n_entries, GROUP)
        group = group if n_paths * n_entries // group >= n_kept else 1
        tops = scores.reshape(n, n_paths, group, -1).max(axis=2) - half[..., None]
        longest = half.max(axis=1)
        slack = SCREEN_TOLERANCE * self._reach[k] * (np.sqrt(2 * longest) + self._reach[k]) + ROUNDING * longest
        if paths.weight is not None:
            tops *= paths.weight[..., None]
            slack *= paths.weight.max(axis=1)
        limits = (np.partition(tops.reshape(n, -1), -n_kept, axis=1)[:, -n_kept] - slack)[:, None]
        limits = half + (limits if paths.weight is None else limits / paths.weight)
        return self._decide(k, paths, half, n_kept, scores >= limits.astype(np.float32)[..., None])

    def _decide(self, k: int, paths: Paths, half: Exact, n_kept: int, is_close: NDArray[np.bool_]) -> tuple[Codes, Codes]:
        """Return the best extensions among candidates [N, M, V] in float64.

        Both ways sum in the same order, so it does not matter for a vector how many candidates others have.
        """
        n, _, n_entries = is_close.shape
        found = is_close.ravel().nonzero()[0]
        if len(found) > MOST_CANDIDATES * n_kept * n:  # codebooks that were never trained
            exact = np.einsum("nmd,vd->nmv", paths.rest, self._exact[k])
            exact -= self._half_norms[k] + half[..., None]
            if paths.weight is not None:
                exact *= paths.weight[..., None]
            places = np.argsort(-exact.reshape(n, -1), axis=1, kind="stable")[:, :n_kept]
            return places // n_entries, places % n_entries
        row, entry = np.divmod(found, n_entries)
        vector, path = np.divmod(row, is_close.shape[1])
        exact = np.einsum("cd,cd->c", paths.rest[vector, path], self._exact[k, entry])
        exact -= self._half_norms[k, entry] + half[vector, path]
        if paths.weight is not None:
            exact *= paths.weight[vector, path]
        order = np.lexsort((-exact, vector))  # stable: candidates are in the order of vectors, paths and entries
        first = np.searchsorted(vector, np.arange(n))
        kept = order[first[:, None] + np.arange(n_kept)]
        return path[kept], entry[kept]


def float32_arrays(*tensors: Any) -> list[NDArray[np.float32]]:
    """Return copies of torch tensors as arrays in float32."""
    return [tensor.detach().float().cpu().numpy().copy() for tensor in tensors]
