"""Levels: mean power in auditory bands and short time steps, and a quantizer for them with finite memory.

A frame's levels are a vector of F = steps * bands numbers in dB. They change slowly, so the quantizer
predicts them from what it coded before. The prediction is a moving average over the entries e of the last
`n_taps` frames,

    decoded[t] = mean + e[t] + sum_{i=1..n_taps} taps[i] @ e[t - i],

and not over decoded levels, so a frame depends on no code older than `n_taps` frames. A decoder can start at
any frame, and the effect of a lost frame ends. Each further codebook codes the residual of the previous ones
in the same way, so every prefix of the codebooks decodes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from .bands import FLOOR_DB as FLOOR_DB
from .bands import RANGE_DB as RANGE_DB
from .bands import SILENT_MARGIN_DB as SILENT_MARGIN_DB
from .bands import band_edges as band_edges
from .level_search import LevelSearch


def band_means(bands: list[tuple[int, int]], n_bins: int) -> Tensor:
    """Return the matrix [n_bins, bands] from bins to the means of bands, each [start, stop)."""
    bank = torch.zeros(n_bins, len(bands))
    for band, (start, stop) in enumerate(bands):
        bank[start:stop, band] = 1 / (stop - start)
    return bank


class LevelAnalysis(nn.Module):
    """Measures levels in dB of frames [B, T, 2 * hop], which include half a hop of context on each side."""

    window: Tensor
    bank: Tensor

    def __init__(self, hop: int, sample_rate: int, n_steps: int, n_bands: int, n_top_bands: int, n_slow_bands: int = 0) -> None:
        super().__init__()
        self.hop, self.n_steps, self.step, self.n_slow_bands = hop, n_steps, hop // n_steps, n_slow_bands
        n_fft = 3 * self.step
        window = torch.hann_window(n_fft, dtype=torch.float64)
        self.register_buffer("window", window / window.sum(), persistent=False)
        edges = band_edges(sample_rate / n_fft, n_bands, n_top_bands)
        bank = band_means(list(pairwise(edges)), n_fft // 2 + 1).double()
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, 2 * hop] -> [B, T, n_steps * n_bands], step by step, limited to the floor and the frame's range.

        The `n_slow_bands` lowest bands have the frame's mean in dB in every step.
        """
        start = self.hop // 2 - self.step
        blocks = frames[..., start : start + self.hop + 2 * self.step].unfold(-1, 3 * self.step, self.step)
        spectrum = torch.fft.rfft(blocks * self.window.to(frames.dtype))
        power = spectrum.real.square() + spectrum.imag.square()
        levels = clamp_levels(10 * (power @ self.bank.to(frames.dtype) + 1e-10).log10().flatten(-2))
        slow, fast = levels.unflatten(-1, (self.n_steps, -1)).tensor_split([self.n_slow_bands], dim=-1)
        return torch.cat([slow.mean(-2, keepdim=True).expand_as(slow), fast], dim=-1).flatten(-2)


def clamp_levels(levels: Tensor) -> Tensor:
    """Limit levels [..., F] in dB to at least the floor, and to a range below the loudest."""
    return torch.maximum(levels.clamp(min=FLOOR_DB), levels.amax(-1, keepdim=True) - RANGE_DB)


class LevelVQ(nn.Module):
    """Predictive residual vector quantizer of levels: codebooks [K, V, F], taps [K, n_taps, F, F], mean [F].

    Entries are in units of dB * `weight` [F], so that the search makes smaller errors where the weight is larger.
    """

    codebooks: Tensor
    weight: Tensor
    scales = None

    def __init__(self, n_codebooks: int, codebook_size: int, n_levels: int, n_taps: int, weight: Tensor | None = None) -> None:
        super().__init__()
        self.n_taps = n_taps
        self._search: tuple[Any, LevelSearch] | None = None
        self.register_buffer("weight", torch.ones(n_levels) if weight is None else weight, persistent=False)
        self.register_buffer("codebooks", torch.zeros(n_codebooks, codebook_size, n_levels))
        self.mean = nn.Parameter(torch.full((n_levels,), -60.0))
        start = [torch.stack([a**i * torch.eye(n_levels) for i in range(1, n_taps + 1)]) for a in (0.8, *[0.3] * n_codebooks)]
        self.taps = nn.Parameter(torch.stack(start[:n_codebooks]))

    def initial_past(self, batch_size: int) -> Tensor:
        """Return the entries before the first frame: zeros [B, K, n_taps, F], latest last."""
        n_codebooks, _, n_levels = self.codebooks.shape
        return self.codebooks.new_zeros(batch_size, n_codebooks, self.n_taps, n_levels, dtype=torch.float64)

    def search(self) -> LevelSearch:
        """Return the search for these codebooks; it is kept until they change."""
        tensors = self.codebooks, self.taps, self.mean, self.weight
        key = tuple((t.data_ptr(), t._version) for t in tensors)
        if self._search is None or self._search[0] != key:
            self._search = key, LevelSearch(*(t.detach().float().cpu().numpy().copy() for t in tensors))
        return self._search[1]

    @torch.no_grad()
    def encode(self, levels: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Encode levels [B, T, F] in float64: codes [B, K, T], and the levels [B, T, F] that the first codebook decodes to.

        `past` [B, K, n_taps] (see `initial_codes`) is updated in place.
        """
        codes, base = self.search()(levels.double().cpu().numpy(), past.numpy())
        return torch.from_numpy(codes).to(levels.device), torch.from_numpy(base).to(levels.device)

    def initial_codes(self, batch_size: int) -> Tensor:
        """Return the codes before the first frame, for `encode`: they stand for entries of zeros."""
        return torch.from_numpy(self.search().first_past(batch_size))

    def entries(self, codes: Tensor) -> Tensor:
        """Return the entries [B, k, T, F], float32, of codes [B, k, T]."""
        pairs = zip(codes.unbind(1), self.codebooks, strict=False)
        return torch.stack([nn.functional.embedding(index, book) for index, book in pairs], dim=1)

    def predict(self, entries: Tensor, past: Tensor) -> Tensor:
        """Return each codebook's part of the decoded levels: entries [B, k, T, F], past [B, k, n_taps, F] -> dB [B, k, T, F].

        The first part includes the mean.
        """
        n_frames = entries.shape[2]
        known = torch.cat([past.to(entries.dtype), entries], dim=2)
        parts = []
        for k in range(entries.shape[1]):
            total = entries[:, k]
            for i in range(1, self.n_taps + 1):
                start = self.n_taps - i
                total = total + known[:, k, start : start + n_frames] @ self.taps[k, i - 1].to(entries.dtype).T
            decibels = total / self.weight.to(entries.dtype)
            parts.append(decibels + self.mean.to(entries.dtype) if k == 0 else decibels)
        return torch.stack(parts, dim=1)
