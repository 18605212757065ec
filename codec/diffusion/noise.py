"""Where the noise of a sampler comes from: by item, time and place, or in the order in which the published code draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

BLOCK = 1 << 14  # samples that are drawn at once


class Noise(Protocol):
    """White Gaussian noise for one call of a network, over a span of samples."""

    def draw(self, band: int, call: int, first: int, like: Tensor) -> Tensor:
        """Noise [B, C, n] as `like`, for the samples from `first` on; call 0 is the initial noise."""
        ...


class ItemNoise:
    """Noise that depends on an item's seed, the band, the call, and the place in the signal, and on nothing else.

    So an item's samples are the same whatever batch it is in, whatever windows the signal is
    cut into, and on every device. The mono streams of a stereo item share their noise, which
    keeps mono mono; the channels of one network have their own. Blocks are drawn from PCG64
    streams of their own.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = [int(seed) for seed in seeds]
        if any(seed < 0 for seed in self._seeds):
            raise ValueError(f"seeds must not be negative, got {min(self._seeds)}")

    @classmethod
    def of(cls, seed: int | Sequence[int] | torch.Generator, n_items: int) -> ItemNoise:
        """One seed for all items, one for each, or a generator that draws one for each, in order."""
        if isinstance(seed, torch.Generator):
            drawn = torch.randint(2**63 - 1, (n_items,), generator=seed, device=seed.device)
            return cls(drawn.tolist())
        seeds = [seed] * n_items if isinstance(seed, int) else list(seed)
        if len(seeds) != n_items:
            raise ValueError(f"seed must be one number or {n_items}, one for each item, got {len(seeds)}")
        return cls(seeds)

    def draw(self, band: int, call: int, first: int, like: Tensor) -> Tensor:
        """See Noise; rows of `like` are the items, in order, each with as many rows as it has streams."""
        n_rows, n_channels, n = like.shape
        spans = {seed: [_span([seed, band, call, c], first, n) for c in range(n_channels)] for seed in set(self._seeds)}
        items = torch.from_numpy(np.array([spans[seed] for seed in self._seeds]))  # [items, C, n]
        return items.repeat_interleave(n_rows // len(self._seeds), dim=0).to(like)


def _span(key: list[int], first: int, n: int) -> np.ndarray:
    """Samples [first, first + n) of an endless stream, float32 [n]."""
    start = first // BLOCK
    blocks = [
        np.random.default_rng([*key, block]).standard_normal(BLOCK, dtype=np.float32)
        for block in range(start, (first + n - 1) // BLOCK + 1)
    ]
    return np.concatenate(blocks)[first - start * BLOCK :][:n]


class BatchNoise:
    """Noise as the published code draws it: for the whole batch and signal at once, band after band.

    `generator` is torch's global one where none is given. An item's noise then depends on
    the batch; it cannot be drawn in windows.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self._generator = generator

    def draw(self, band: int, call: int, first: int, like: Tensor) -> Tensor:
        """See Noise; what is told of time and place does not matter, only the order of calls."""
        return torch.randn(like.shape, generator=self._generator, device=like.device, dtype=like.dtype)
