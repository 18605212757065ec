"""Variable bitrate: each minute of audio is coded with all codebooks, then every stretch keeps as many as it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..format import Chunk, Header
from ..format.arguments import described, finite_number
from ..format.errors import ArgumentError
from ..format.sizes import chunk_bytes, chunk_overhead_bytes, empty_stream_bytes
from ..format.streams import all_shares
from . import codebook_allocation as allocation
from .channel_layout import Layout
from .codebook_allocation import Codebooks, Distances, Edges, LevelCosts
from .pipeline_parts import to_array
from .protocols import Model

WINDOW_SECONDS = 60  # of audio analysed at once; sets memory use and delay
STRETCH_SECONDS = 0.5  # shortest time for which K stays the same
QUALITY_DB = 6.5, 3.0  # largest distance allowed at quality 0, and at quality 10
PLANS, CLOSE = 10, 0.005  # most attempts to meet the budget, and the share of it that may remain unspent
MEASURED = 5  # numbers of codebooks at which the audio is decoded and compared


@dataclass(frozen=True)
class Target:
    """The goal: a mean bitrate for the whole file, or a largest distance (dB between mel spectra) for every stretch."""

    kbps: float | None = None
    distance_db: float = 0.0

    def __post_init__(self) -> None:
        if self.kbps is not None:
            finite_number("kbps", self.kbps)
        finite_number("distance_db", self.distance_db)

    @classmethod
    def of_quality(cls, quality: float) -> Target:
        """Return the target for a quality from 0 to 10. Raises ValueError for other values."""
        finite_number("the quality", quality)
        if not 0 <= quality <= 10:
            raise ArgumentError(f"the quality must be 0 to 10, got {quality:g}")
        worst, best = QUALITY_DB
        return cls(distance_db=worst + (best - worst) * quality / 10)


class Allocator:
    """Chooses the number of codebooks K for the codes of a file, one window at a time."""

    def __init__(self, codec: Model, layout: Layout, header: Header, target: Target, chunk_frames: int) -> None:
        if not isinstance(target, Target):
            raise ArgumentError(f"vbr must be a Target, got {described(target)}")
        if not codec.config.any_codebooks or codec.config.segment_length:
            raise ArgumentError(f"{codec.config.name} has no variable bitrate: it does not allow every number of codebooks")
        self._codec, self._layout, self._target = codec, layout, target
        self._choice, self._header = _level_costs(codec, layout, header, chunk_frames), header
        self._before: int | None = None  # the level of the previous stretch
        self._bits = 8.0 * empty_stream_bytes(header)  # written so far, including header and trailer
        self._frames = 0
        lowest = float(self._choice.bits_per_frame[0] * frames_per_second(codec)) / 1000
        if target.kbps is not None and target.kbps < lowest:
            raise ArgumentError(f"--vbr starts at {lowest:g} kbps for this file, got {target.kbps:g}")

    @property
    def codebooks(self) -> Codebooks:
        """The K of each stream that codes passed to `cut` must have."""
        return self._choice.levels[-1]

    def cut(self, codes: NDArray[np.uint16], audio: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.uint16], Codebooks]]:
        """Split a window, codes [R, T] at `codebooks` K with audio [C, N], into stretches (codes [R', t], K of each stream)."""
        edges = self._edges(codes.shape[1])
        distances = self._distances(codes, audio, edges)
        if self._target.kbps is None:
            path = allocation.least_levels(distances, self._target.distance_db)
        else:
            path = self._affordable(codes, distances, edges)
        self._bits += self._real_bits(codes, path, edges)
        self._frames += codes.shape[1]
        self._before = path[-1]
        for level, start, stop in zip(path, edges[:-1], edges[1:], strict=True):
            books = self._choice.levels[level]
            yield _first_codebooks(codes[:, start:stop], self.codebooks, books), books

    def _affordable(self, codes: NDArray[np.uint16], distances: Distances, edges: Edges) -> list[int]:
        """Return the best levels that fit the bit budget. What a prior saves is known only after coding, and is then spent."""
        assert self._target.kbps is not None
        seconds = (self._frames + codes.shape[1]) / frames_per_second(self._codec)
        budget = 1000 * self._target.kbps * seconds - self._bits
        path = allocation.best_path(distances, np.diff(edges), self._choice, budget, self._before)
        if not self._header.entropy or budget <= 0:
            return path
        best, most, low, high, planned = path, 0.0, 0.0, np.inf, budget
        for _ in range(PLANS):
            bits = self._real_bits(codes, path, edges)
            if bits > budget:
                high = planned
            else:
                low = planned
                best, most = (path, bits) if bits > most else (best, most)
            if budget - most < CLOSE * budget or high - low < CLOSE * budget:
                break
            planned = 0.5 * (low + high) if low and high < np.inf else planned * budget / bits
            path = allocation.best_path(distances, np.diff(edges), self._choice, planned, self._before)
        return best

    def _real_bits(self, codes: NDArray[np.uint16], path: Sequence[int], edges: Edges) -> float:
        """Return the bits of the stretches at the levels `path`. With a prior, each run of one level starts a new chunk."""
        if not self._header.entropy:
            return self._choice.bits(path, np.diff(edges), self._before)
        bits = 0
        places = [0, *(i for i in range(1, len(path)) if path[i] != path[i - 1]), len(path)]
        for first, last in pairwise(places):
            level = self._choice.levels[path[first]]
            for start in range(int(edges[first]), int(edges[last]), self._choice.chunk_frames):
                stop = min(start + self._choice.chunk_frames, int(edges[last]))
                chunk = Chunk(0, _first_codebooks(codes[:, start:stop], self.codebooks, level), level)
                bits += 8 * chunk_bytes(chunk, self._header)
        return float(bits)

    def _edges(self, n_frames: int) -> Edges:
        """Return the borders of the stretches, in frames."""
        size = max(1, round(STRETCH_SECONDS * frames_per_second(self._codec)))
        return np.r_[np.arange(0, max(n_frames - size // 2, 1), size), n_frames]

    def _distances(
        self, codes: NDArray[np.uint16], audio: NDArray[np.float32], edges: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the distance of each level from the original in each stretch: [S, L], in dB."""
        levels = self._choice.levels
        measured = sorted(set(np.geomspace(1, len(levels), MEASURED).round().astype(int) - 1))
        estimates = []
        for i in measured:
            taken = _first_codebooks(codes, self.codebooks, levels[i]).astype(np.int64)
            streams = np.split(taken, np.cumsum(levels[i])[:-1])
            decoded = np.stack([to_array(self._codec.decode(stream[None], audio.shape[1])[0]) for stream in streams])
            estimates.append(self._layout.join(decoded))
        places = np.minimum(edges * self._codec.config.hop_length, audio.shape[1])
        distances = allocation.mel_distances(estimates, audio, self._codec.sample_rate, places)
        return allocation.interpolated(distances, measured, self._choice.bits_per_frame)


def frames_per_second(codec: Model) -> float:
    """Return the frames per second."""
    return float(codec.config.frame_rate)


def _first_codebooks(codes: NDArray[np.uint16], have: Codebooks, want: Codebooks) -> NDArray[np.uint16]:
    """Return codes [R, T] with only the first codebooks of each stream."""
    starts = np.r_[0, np.cumsum(have)[:-1]]
    return np.concatenate([codes[start : start + k] for start, k in zip(starts, want, strict=True)])


def _level_costs(codec: Model, layout: Layout, header: Header, chunk_frames: int) -> LevelCosts:
    config = codec.config
    levels = all_shares(layout.coding, config.n_codebooks, layout.is_narrow)
    bits = np.array([header.bits * sum(level) for level in levels], float)
    return LevelCosts(levels, bits, 8.0 * chunk_overhead_bytes(header), chunk_frames)


def regroup_windows(
    coded: Iterable[tuple[NDArray[np.uint16], NDArray[np.float32]]], n_frames: int, hop_length: int
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.float32]]]:
    """Regroup codes [R, t] and audio [C, n] of any length into windows of `n_frames` frames; the last may be shorter."""
    codes: list[NDArray[np.uint16]] = []
    audio: list[NDArray[np.float32]] = []
    waiting = 0
    for rows, samples in coded:
        codes.append(rows)
        audio.append(samples)
        waiting += rows.shape[1]
        while waiting > n_frames:
            joined, wav = np.concatenate(codes, axis=1), np.concatenate(audio, axis=1)
            yield joined[:, :n_frames], wav[:, : n_frames * hop_length]
            codes, audio = [joined[:, n_frames:]], [wav[:, n_frames * hop_length :]]
            waiting -= n_frames
    if waiting:
        yield np.concatenate(codes, axis=1), np.concatenate(audio, axis=1)
