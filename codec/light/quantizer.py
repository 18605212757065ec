"""The residual vector quantizer in numpy: the same codes as quantize/residual.py."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quantize.beam import BeamSearch
from ..quantize.common import hash_of
from ..quantize.residual_search import ResidualSearch


class Quantizer:
    """K codebooks [K, V, D] in float32; with `scales` [V], the first code sets the scale of what the others code."""

    def __init__(self, codebooks: NDArray[np.float32], scales: NDArray[np.float32] | None) -> None:
        self.codebooks, self.scales = codebooks, scales

    # What only encoding needs is computed at its first use.

    @functools.cached_property
    def _search(self) -> ResidualSearch:
        return ResidualSearch(self.codebooks, self.scales)

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
        vectors = latents.reshape(-1, dimension)
        if n_paths > 1:
            found = self._beam_search(vectors, n_codebooks, n_paths)
            return found.reshape(batch_size, n_frames, n_codebooks).transpose(0, 2, 1)
        codes = self._search(vectors, n_codebooks)
        return codes.reshape(n_codebooks, batch_size, n_frames).transpose(1, 0, 2)

    def decode(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the latents that codes stand for, summed in codebook order: [B, k, T] -> [B, T, D]."""
        batch_size, n_codebooks, n_frames = codes.shape
        total = np.zeros((batch_size, n_frames, self.codebooks.shape[2]), np.float32)
        scale = None if self.scales is None or not n_codebooks else self.scales[codes[:, 0], None]
        for k in range(n_codebooks):
            entry = self.codebooks[k].take(codes[:, k], axis=0)
            if scale is not None and k > 0:
                entry *= scale
            total += entry
        return total
