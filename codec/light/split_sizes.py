"""Sizes and weights of split codecs that graphs and numpy share; needs no package to write graphs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..config import SplitConfig
from ..modules.bands import band_edges

OVERLAP = 3  # windows of the last layer that cover each sample


def unfinished_windows(config: SplitConfig) -> int:
    """Return how many windows of a stream end before its signal, so that every frame completes `steps` windows."""
    step = config.core_hop // config.steps
    return -(-(config.core_hop // 2) // step)


def dropped_samples(config: SplitConfig) -> int:
    """Return the number of samples that a decoder gives before those of its signal."""
    return (unfinished_windows(config) + OVERLAP - 1) * (config.hop_length // config.steps)


def hiss_bins(config: SplitConfig) -> int:
    """Return the number of bins above the core, where noise is added; with its own bins before them there are n / 2 + 1."""
    return (config.core_factor - 1) * config.core_window // 2 + 1


def level_weight(config: SplitConfig) -> NDArray[np.float32]:
    """Return the weight of each level in the search [F], float32."""
    weight = np.ones((config.steps, config.bands + config.top_bands), np.float32)
    weight[:, : config.slow_bands] = math.sqrt(config.slow_weight)
    return weight.ravel()


def bands_of_bins(config: SplitConfig, n_bins: int) -> NDArray[np.intp]:
    """Return the band of each of `n_bins` bins of the core."""
    hz = (np.arange(n_bins) + 0.5) * config.core_rate / 2 / n_bins
    inner = np.array(band_edges(config.level_bin_hz, config.bands, 0)[1:-1]) * config.level_bin_hz
    return np.searchsorted(inner, hz, side="right")


def reference_amplitude(config: SplitConfig) -> float:
    """Return the amplitude of an MDCT bin relative to that of a level of 0 dB."""
    return math.sqrt(config.core_window / 1.5)
