"""The quantizer of a split codec: codebooks for levels and codebooks for the shape, in one nested order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn
from torch import Tensor

from ..modules.levels import LevelVQ
from .residual import ResidualVQ

N_FLAGS = 2  # features with the share of codebooks of each kind that a frame has


class SplitVQ(nn.Module):
    """Level codebooks at the positions `level_places` of the prefix, shape codebooks at all others.

    The encoder's latents are [B, D + L, T]: the shape's D dimensions, then the codes of the L level codebooks, which
    the encoder has already found, because the shape is coded relative to decoded levels.
    The decoder's latents are [B, D + L * F + 2, T]: the decoded shape, the entries of each level codebook (zero if a
    codebook is missing), and the shares of level and shape codebooks that the frame has.
    """

    def __init__(self, levels: LevelVQ, level_places: tuple[int, ...], n_codebooks: int, size: int, dimension: int) -> None:
        super().__init__()
        self.levels = levels
        self.level_places, self.n_codebooks, self.dimension = level_places, n_codebooks, dimension
        self.shape = ResidualVQ(n_codebooks - len(level_places), size, dimension, scaled=True)

    @property
    def reference(self) -> bool:
        """Whether to search in EnCodec's order of operations; see ResidualVQ."""
        return self.shape.reference

    @reference.setter
    def reference(self, value: bool) -> None:
        self.shape.reference = value

    @property
    def codebook_size(self) -> int:
        """Codebook size V."""
        return self.shape.codebooks.shape[1]

    @property
    def latent_size(self) -> int:
        """Number of channels of the decoder's latents."""
        n_books, _, n_levels = self.levels.codebooks.shape
        return self.dimension + n_books * n_levels + N_FLAGS

    def token_tensors(self) -> Iterator[Tensor]:
        """Yield all tensors that give codes their meaning, in the order of the hash."""
        yield from (self.levels.codebooks, self.levels.taps, self.levels.mean, self.levels.weight, self.shape.codebooks)
        if self.shape.scales is not None:
            yield self.shape.scales
        yield torch.tensor(self.level_places, dtype=torch.float32)

    def books(self) -> list[Tensor]:
        """Return the entries of each codebook in the order of a prefix: [V, F] of levels, [V, D] of the shape."""
        levels, shape = iter(self.levels.codebooks), iter(self.shape.codebooks)
        return [next(levels if place in self.level_places else shape) for place in range(self.n_codebooks)]

    def counts(self, n_codebooks: int) -> tuple[int, int]:
        """Return how many level and shape codebooks the first `n_codebooks` contain."""
        n_levels = sum(place < n_codebooks for place in self.level_places)
        return n_levels, n_codebooks - n_levels

    def encode(self, latents: Tensor, n_codebooks: int | None = None, n_paths: int = 1) -> Tensor:
        """Encode the encoder's latents [B, D + L, T] to codes [B, n_codebooks, T]; `n_paths` as in ResidualVQ."""
        n_codebooks = self.n_codebooks if n_codebooks is None else n_codebooks
        n_levels, n_shape = self.counts(n_codebooks)
        level_codes = latents[:, self.dimension :].round().long()
        codes = level_codes.new_empty(latents.shape[0], n_codebooks, latents.shape[2])
        places = [p for p in self.level_places if p < n_codebooks]
        others = [p for p in range(n_codebooks) if p not in places]
        codes[:, places] = level_codes[:, :n_levels]
        if n_shape:
            codes[:, others] = self.shape.encode(latents[:, : self.dimension], n_shape, n_paths)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [B, k, T] to the decoder's latents [B, D + L * F + 2, T]; k = 0 means lost frames."""
        batch_size, k, n_frames = codes.shape
        n_levels, n_shape = self.counts(k)
        places = [p for p in self.level_places if p < k]
        others = [p for p in range(k) if p not in places]
        shape = self.shape.decode(codes[:, others])
        size = self.levels.codebooks.shape[2]
        entries = shape.new_zeros(batch_size, len(self.level_places), n_frames, size)
        if n_levels:
            entries[:, :n_levels] = self.levels.entries(codes[:, places])
        flags = shape.new_tensor([n_levels / len(self.level_places), n_shape / len(self.shape.codebooks)])
        return join_latents(shape, entries, flags[None].expand(batch_size, -1))


def join_latents(shape: Tensor, entries: Tensor, flags: Tensor) -> Tensor:
    """Join shape [B, D, T], level entries [B, L, T, F] and flags [B, 2] or [B, 2, T] to the decoder's latents."""
    if flags.dim() == 2:
        flags = flags[:, :, None].expand(-1, -1, shape.shape[2])
    return torch.cat([shape, entries.transpose(2, 3).flatten(1, 2), flags.to(shape.dtype)], dim=1)
