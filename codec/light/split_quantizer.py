"""The quantizer of split codecs in numpy: the same codes as quantize/split.py and modules/levels.py."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import SplitConfig
from ..modules.level_search import LevelSearch
from ..quantize.common import hash_of
from .quantizer import Quantizer
from .split_sizes import level_weight

Exact = NDArray[np.float64]


class LevelQuantizer:
    """Codebooks [L, V, F] for levels, which predict with taps [L, n_taps, F, F] what they code; float32."""

    def __init__(
        self, codebooks: NDArray[np.float32], taps: NDArray[np.float32], mean: NDArray[np.float32], weight: NDArray[np.float32]
    ) -> None:
        self.codebooks, self.taps, self.mean, self.weight = codebooks, taps, mean, weight

    @functools.cached_property
    def search(self) -> LevelSearch:
        """The search for the codes of levels."""
        return LevelSearch(self.codebooks, self.taps, self.mean, self.weight)


class SplitQuantizer:
    """Level codebooks at the positions `level_places` of the prefix, codebooks for shapes at all others."""

    def __init__(self, config: SplitConfig, levels: LevelQuantizer, shape: Quantizer) -> None:
        self.places, self.levels, self.shape = config.level_places, levels, shape
        self.dimension = shape.codebooks.shape[2]

    @property
    def token_space(self) -> bytes:
        """SHA-256 (32 bytes) of the tensors that give codes their meaning."""
        levels, shape = self.levels, self.shape
        places = np.array(self.places, np.float32)
        arrays: list[Any] = [levels.codebooks, levels.taps, levels.mean, levels.weight, shape.codebooks, shape.scales, places]
        return hash_of(arrays)

    def split(self, n_codebooks: int) -> tuple[list[int], list[int]]:
        """Return the positions of level codebooks among the first `n_codebooks`, and those of shapes."""
        places = [p for p in self.places if p < n_codebooks]
        return places, [p for p in range(n_codebooks) if p not in places]

    def encode(self, latents: Exact, n_codebooks: int, n_paths: int = 1) -> NDArray[np.int64]:
        """Quantize latents [B, T, D + L], shapes and the codes of levels -> codes [B, n_codebooks, T]."""
        places, others = self.split(n_codebooks)
        codes = np.empty((len(latents), n_codebooks, latents.shape[1]), np.int64)
        codes[:, places] = latents[..., self.dimension :].transpose(0, 2, 1)[:, : len(places)]
        if others:
            codes[:, others] = self.shape.encode(latents[..., : self.dimension], len(others), n_paths)
        return codes

    def decode(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the decoder's latents [B, T, D + L * F + 2] of codes [B, k, T]; k = 0 means lost frames."""
        batch_size, k, n_frames = codes.shape
        places, others = self.split(k)
        books = self.levels.codebooks
        entries = np.zeros((batch_size, n_frames, len(books), books.shape[2]), np.float32)
        for book, place in enumerate(places):
            entries[:, :, book] = books[book][codes[:, place]]
        flags = np.empty((batch_size, n_frames, 2), np.float32)
        flags[...] = len(places) / len(books), len(others) / len(self.shape.codebooks)
        packed = entries.reshape(batch_size, n_frames, len(books) * books.shape[2])
        return np.concatenate([self.shape.decode(codes[:, others]), packed, flags], axis=2)


def quantizer_of(config: SplitConfig, arrays: list[NDArray[np.float32]]) -> SplitQuantizer:
    """Build the quantizer from the level codebooks, taps and mean, and the codebooks and scales of shapes."""
    codebooks, taps, mean, shapes, scales = arrays
    levels = LevelQuantizer(codebooks, taps, mean, level_weight(config))
    return SplitQuantizer(config, levels, Quantizer(shapes, scales))
