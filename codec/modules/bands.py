"""Auditory bands of levels, without torch: both runtimes lay them out alike."""

from __future__ import annotations

import numpy as np

FLOOR_DB = -88.0  # of full scale: smallest level
RANGE_DB = 70.0  # of a frame: levels are limited to this far below the loudest one
SILENT_MARGIN_DB = 4.0  # decoded levels this close to the lowest possible one mean silence, as codes are not exact
LOWEST_HZ, CORE_HZ, HIGHEST_HZ = 50.0, 12_000.0, 20_000.0
TREBLE_HZ = 7000.0  # lower edge of the lowest band whose decoded level is raised


def erb_edges(n_bands: int, low: float, high: float) -> np.ndarray:
    """Return the edges [n_bands + 1] in Hz of bands equally wide on the ERB-rate scale (Glasberg and Moore 1990)."""
    rates = np.linspace(21.4 * np.log10(1 + 0.00437 * low), 21.4 * np.log10(1 + 0.00437 * high), n_bands + 1)
    return (10 ** (rates / 21.4) - 1) / 0.00437


def band_edges(bin_hz: float, n_bands: int, n_top_bands: int) -> list[int]:
    """Return the edges of bands in bins of `bin_hz`: `n_bands` up to 12 kHz, then `n_top_bands` to 20 kHz.

    Every band is at least one bin wide.
    """
    edges = [0]
    for hz in erb_edges(n_bands, LOWEST_HZ, CORE_HZ)[1:]:
        edges.append(max(edges[-1] + 1, round(hz / bin_hz)))
    top = erb_edges(n_top_bands, CORE_HZ, HIGHEST_HZ)[1:] if n_top_bands else np.zeros(0)
    return edges + [round(hz / bin_hz) for hz in top]


def treble_raise(treble_db: tuple[float, ...], bin_hz: float, n_bands: int, n_top_bands: int) -> np.ndarray:
    """Return how much the last layer raises each band's level, in dB [L + 1, bands], for 0 to L level codebooks.

    Few codebooks describe levels roughly, and what they decode to is a mean of decibels. The mean of the powers is higher, so
    uncertain bands come out too quiet. Only treble is raised: below it, this costs more accuracy than it gives loudness.
    """
    edges = np.array(band_edges(bin_hz, n_bands, n_top_bands)) * bin_hz
    found = np.zeros((len(treble_db) + 1, n_bands + n_top_bands), np.float32)
    found[1:, edges[:-1] >= TREBLE_HZ] = np.array(treble_db, np.float32)[:, None]
    return found


def between_points(n_points: int, hop: int) -> np.ndarray:
    """Return the matrix [n_points + 1, hop] from gains at the start and at the ends of a frame's parts to its samples."""
    place = (np.arange(hop) + 0.5) * n_points / hop
    return np.clip(1 - np.abs(place - np.arange(n_points + 1)[:, None]), 0, None).astype(np.float32)


def free_bins(start: int, hop: int, fine_blocks: int) -> np.ndarray:
    """Return which bins lie at bin `start` of a long block or above: of a long block [hop], then of short ones, if any."""
    if not fine_blocks:
        return np.arange(hop) >= start
    size = hop // fine_blocks
    fine = np.arange(hop) % size >= -(-start // fine_blocks)
    return np.concatenate([np.arange(hop) >= start, fine])
