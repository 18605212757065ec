"""Choose how many codebooks each stretch (half a second) of a file gets.

The distortion of K codebooks is measured by decoding at some values of K and comparing mel spectra with the original's;
for the other K it is interpolated. Then the path through the stretches with the lowest cost is found. The cost sums bits
and distortion, plus the head of a new chunk if K changes. For a given price of a bit, dynamic programming finds the path;
bisection finds the price at which the path fits the bit budget (Shoham & Gersho 1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .mel_filters import mel_filters

MEL_WINDOWS = {512: 40, 2048: 160}  # window length in samples: number of mel bands
FLOOR = 1e-5  # smallest mel magnitude
BISECTIONS = 40
BLOCK_FRAMES = 256  # whose spectra are computed at once, to save memory

Audio = NDArray[np.float32]  # [C, N]
Codebooks = tuple[int, ...]  # K of each stream
Distances = NDArray[np.float64]  # dB between mel spectra
Edges = NDArray[np.int64]  # start of each stretch, and the end of the last one


@dataclass(frozen=True)
class LevelCosts:
    """The levels that a file may be coded at, in rising order of bits, and their costs."""

    levels: tuple[Codebooks, ...]
    bits_per_frame: NDArray[np.float64]  # [L]
    head_bits: float  # of one chunk, including its index entry
    chunk_frames: int  # longest chunk, even if K does not change

    def bits(self, path: Sequence[int], frames: NDArray[np.int64], before: int | None = None) -> float:
        """Return the bits of stretches of `frames` [S] at the levels `path` [S], after a stretch at level `before`."""
        levels = np.asarray(path)
        starts = np.flatnonzero(np.diff(levels, prepend=-1))
        runs = np.add.reduceat(frames, starts)  # frames of each run of equal K
        heads = np.ceil(runs / self.chunk_frames)
        if levels[0] == before:
            heads[0] = runs[0] / self.chunk_frames  # the first frames may join the chunk of the stretch before
        return float((self.bits_per_frame[levels] * frames).sum() + self.head_bits * heads.sum())


def log_mel(audio: Audio, sample_rate: int, n_fft: int) -> Audio:
    """Return log10 of mel magnitudes: audio [C, N] -> [C, T, M], one frame per n_fft / 4 samples, centred on its first."""
    padded = np.pad(audio.astype(np.float32), ((0, 0), (n_fft // 2, n_fft // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, :: n_fft // 4]  # [C, T, n_fft]
    filters = mel_filters(sample_rate, n_fft, MEL_WINDOWS[n_fft]).T
    blocks = [frames[:, first : first + BLOCK_FRAMES] for first in range(0, frames.shape[1], BLOCK_FRAMES)]
    mel = np.concatenate([np.abs(np.fft.rfft(block * _hann(n_fft))).astype(np.float32) @ filters for block in blocks], axis=1)
    return np.log10(np.maximum(mel, np.float32(FLOOR)))


def mel_distances(
    estimates: Sequence[Audio], target: Audio, sample_rate: int, edges: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the distance of each estimate [C, N] from the target [C, N] between `edges` [S+1] (samples): [E, S], in dB."""
    total = np.zeros((len(estimates), len(edges) - 1))
    for n_fft in MEL_WINDOWS:
        wanted = log_mel(target, sample_rate, n_fft)
        places = np.minimum(edges // (n_fft // 4), wanted.shape[1] - 1)
        for row, estimate in zip(total, estimates, strict=True):
            errors = np.abs(log_mel(estimate, sample_rate, n_fft) - wanted).mean(axis=(0, 2), dtype=np.float64)
            sums = np.concatenate([[0.0], np.cumsum(errors)])
            row += 20 / len(MEL_WINDOWS) * (sums[places[1:]] - sums[places[:-1]]) / np.maximum(np.diff(places), 1)
    return total


def interpolated(distances: Distances, measured: Sequence[int], bits: NDArray[np.float64]) -> Distances:
    """Interpolate the distances at the `measured` levels to all levels: [E, S] -> [S, L].

    Linear in the logarithm of the bits. Distances never rise with the level, because extra codebooks can be left unused.
    """
    falling = np.minimum.accumulate(distances, axis=0)
    places = np.log(bits[list(measured)])
    return np.stack([np.interp(np.log(bits), places, column) for column in falling.T])


def cheapest_path(
    distances: Distances, frames: NDArray[np.int64], choice: LevelCosts, price: float, before: int | None = None
) -> list[int]:
    """Return the levels [S] that minimize the sum of distances [S, L] times frames plus `price` times bits."""
    n_stretches, n_levels = distances.shape
    rate = choice.bits_per_frame + choice.head_bits / choice.chunk_frames
    costs = frames[:, None] * (distances + price * rate)
    switch = price * choice.head_bits
    total = np.full(n_levels, switch) if before is None else np.where(np.arange(n_levels) == before, 0.0, switch)
    came_from = np.empty((n_stretches, n_levels), np.int64)
    for i in range(n_stretches):
        if i:
            best = int(total.argmin())
            moves = total[best] + switch < total
            came_from[i] = np.where(moves, best, np.arange(n_levels))
            total = np.where(moves, total[best] + switch, total)
        total = total + costs[i]
    path = [int(total.argmin())]
    for i in range(n_stretches - 1, 0, -1):
        path.append(int(came_from[i, path[-1]]))
    return path[::-1]


def best_path(
    distances: Distances, frames: NDArray[np.int64], choice: LevelCosts, budget: float, before: int | None = None
) -> list[int]:
    """Return the best levels [S] that take at most `budget` bits, or the cheapest ones if nothing fits."""
    low, high = 1e-9, 1e3  # range of the price of a bit, in dB times frames
    found = cheapest_path(distances, frames, choice, high, before)
    for _ in range(BISECTIONS):
        price = float(np.sqrt(low * high))
        path = cheapest_path(distances, frames, choice, price, before)
        if choice.bits(path, frames, before) <= budget:
            found, high = path, price
        else:
            low = price
    return _spent(found, distances, frames, choice, budget, before)


def _spent(
    path: list[int],
    distances: Distances,
    frames: NDArray[np.int64],
    choice: LevelCosts,
    budget: float,
    before: int | None,
) -> list[int]:
    """Spend what is left of the budget on the worst stretches. Bisection leaves some, as it finds only paths on the hull."""
    path = list(path)
    order = np.argsort(-distances[np.arange(len(path)), path])
    for i in order:
        while path[i] + 1 < len(choice.levels):
            raised = [*path[:i], path[i] + 1, *path[i + 1 :]]
            if choice.bits(raised, frames, before) > budget:
                break
            path = raised
    return path


def least_levels(distances: Distances, limit: float) -> list[int]:
    """Return for each stretch the first level whose distance [S, L] is at most `limit` (dB), or the last level if none is."""
    enough = distances <= limit
    return [int(row.argmax()) if row.any() else len(row) - 1 for row in enough]


@lru_cache(maxsize=4)
def _hann(n_fft: int) -> Audio:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
