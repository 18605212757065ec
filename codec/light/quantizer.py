"""The residual vector quantizer in numpy: the same codes as quantize/residual.py."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quantize.beam import BeamSearch
from ..quantize.common import SCREEN_TOLERANCE, hash_of

Floats = NDArray[np.floating[Any]]
MOST_CANDIDATES = 32  # of a vector; for more, a product with all entries is faster and needs less memory


class Quantizer:
    """K codebooks [K, V, D] in float32; with `scales` [V], the first code sets the scale of what the others code."""

    def __init__(self, codebooks: NDArray[np.float32], scales: NDArray[np.float32] | None) -> None:
        self.codebooks, self.scales = codebooks, scales

    # What only encoding needs is computed at its first use.

    @functools.cached_property
    def _exact(self) -> NDArray[np.float64]:
        return self.codebooks.astype(np.float64)

    @functools.cached_property
    def _half_norms(self) -> NDArray[np.float64]:  # [K, V]
        return 0.5 * np.einsum("kvd,kvd->kv", self._exact, self._exact)

    @functools.cached_property
    def _offsets(self) -> NDArray[np.float32]:  # [K, V]
        return -self._half_norms.astype(np.float32)

    @functools.cached_property
    def _entries(self) -> NDArray[np.float32]:  # [K, D, V]
        return np.ascontiguousarray(self.codebooks.transpose(0, 2, 1))

    @functools.cached_property
    def _reach(self) -> NDArray[np.float64]:  # [K], the longest entry of each codebook
        return np.sqrt(2 * self._half_norms.max(axis=1))

    @functools.cached_property
    def _beam_search(self) -> BeamSearch:
        return BeamSearch(self.codebooks, self.scales)

    @property
    def token_space(self) -> bytes:
        """SHA-256 (32 bytes) of the tensors that give codes their meaning."""
        return hash_of([self.codebooks] if self.scales is None else [self.codebooks, self.scales])

    def encode(self, latents: NDArray[np.float64], n_codebooks: int, n_paths: int = 1) -> NDArray[np.int64]:
        """Quantize latents [B, T, D] in float64, coarse to fine -> codes [B, n_codebooks, T]; a beam search if n_paths > 1."""
        batch_size, n_frames, dimension = latents.shape
        residual = latents.reshape(-1, dimension)
        if n_paths > 1:
            found = self._beam_search(residual, n_codebooks, n_paths)
            return found.reshape(batch_size, n_frames, n_codebooks).transpose(0, 2, 1)
        codes = np.empty((n_codebooks, len(residual)), np.int64)
        for k in range(n_codebooks):
            codes[k] = index = self._nearest(k, residual)
            residual = residual - self._exact[k, index]
            if self.scales is not None and k == 0:
                residual = residual / self.scales.astype(np.float64)[index, None]
        return codes.reshape(n_codebooks, batch_size, n_frames).transpose(1, 0, 2)

    def _nearest(self, k: int, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the nearest entry of x [M, D]: in float32 if that decides it, otherwise in float64. Ties: the lowest index."""
        narrow = x.astype(np.float32)
        scores = narrow @ self._entries[k]  # [M, V]
        scores += self._offsets[k]
        index = scores.argmax(axis=1)
        best = scores[np.arange(len(x)), index]
        length = np.sqrt(np.einsum("md,md->m", narrow, narrow))
        margin = SCREEN_TOLERANCE * self._reach[k] * (length + self._reach[k])
        is_close = scores >= (best - margin).astype(np.float32)[:, None]
        if np.count_nonzero(is_close) > len(x):  # about one vector in a hundred has several
            is_several = is_close.sum(axis=1) > 1
            index[is_several] = self._decide(k, x[is_several], is_close[is_several])
        return index

    def _decide(self, k: int, x: NDArray[np.float64], is_close: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the nearest entry of x [M, D] among candidates [M, V] in float64."""
        if np.count_nonzero(is_close) > MOST_CANDIDATES * len(x):  # codebooks that were never trained
            index: NDArray[np.int64] = (x @ self._exact[k].T - self._half_norms[k]).argmax(axis=1)
            return index
        rows, entries = np.nonzero(is_close)
        exact = np.einsum("nd,nd->n", x[rows], self._exact[k, entries]) - self._half_norms[k, entries]
        order = np.lexsort((entries, -exact, rows))
        first: NDArray[np.int64] = entries[order][np.unique(rows[order], return_index=True)[1]]
        return first

    def decode(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the latents that codes stand for, summed in codebook order: [B, k, T] -> [B, T, D]."""
        batch_size, n_codebooks, n_frames = codes.shape
        total = np.zeros((batch_size, n_frames, self.codebooks.shape[2]), np.float32)
        for k in range(n_codebooks):
            entry = self.codebooks[k][codes[:, k]]
            total += entry if self.scales is None or k == 0 else entry * self.scales[codes[:, 0], None]
        return total
