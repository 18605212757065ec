"""Noise for a sampler: determined by item, time and position, or drawn in the order of the published code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...format.errors import ArgumentError
from .noise_span import BLOCK as BLOCK
from .noise_span import noise_span


class Noise(Protocol):
    """White Gaussian noise for one call of a network over a range of samples."""

    def draw(self, band: int, call: int, first: int, like: Tensor) -> Tensor:
        """Return noise [B, C, n] like `like`, for the samples from `first` on. Call 0 is the initial noise."""
        ...


class ItemNoise:
    """Noise that depends only on an item's seed, the band, the call and the position in the signal.

    So an item's audio is the same in any batch, with any windows, and on every device. The mono
    streams of a stereo item share their noise, so mono stays mono; the channels of one network have
    different noise. Each block is drawn from its own PCG64 stream.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = [int(seed) for seed in seeds]
        if any(seed < 0 for seed in self._seeds):
            raise ArgumentError(f"seeds must not be negative, got {min(self._seeds)}")

    @classmethod
    def of(cls, seed: int | Sequence[int] | torch.Generator, n_items: int) -> ItemNoise:
        """Create noise from one seed for all items, one seed per item, or a generator that draws a seed per item in order."""
        if isinstance(seed, torch.Generator):
            drawn = torch.randint(2**63 - 1, (n_items,), generator=seed, device=seed.device)
            return cls(drawn.tolist())
        seeds = [seed] * n_items if isinstance(seed, int) else list(seed)
        if len(seeds) != n_items:
            raise ArgumentError(f"seed must be one number or {n_items}, one for each item, got {len(seeds)}")
        return cls(seeds)

    def draw(self, band: int, call: int, first: int, like: Tensor) -> Tensor:
        """See Noise. The first axis of `like` holds the items in order, each with all its streams."""
        n_rows, n_channels, n = like.shape
        spans = {seed: [noise_span([seed, band, call, c], first, n) for c in range(n_channels)] for seed in set(self._seeds)}
        items = torch.from_numpy(np.array([spans[seed] for seed in self._seeds]))  # [items, C, n]
        return items.repeat_interleave(n_rows // len(self._seeds), dim=0).to(like)


class BatchNoise:
    """Noise as the published code draws it: for the whole batch and signal at once, band after band.

    `generator` defaults to torch's global one. An item's noise depends on the batch, and cannot be
    drawn in windows.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self._generator = generator

    def draw(self, band: int, call: int, first: int, like: Tensor) -> Tensor:
        """See Noise. The arguments for time and position are ignored; only the order of calls matters."""
        return torch.randn(like.shape, generator=self._generator, device=like.device, dtype=like.dtype)
