"""The split codec's levels and encoder in numpy, for models whose weights are here: what their graphs compute, in float64 too.

As for the hybrid encoder (numpy_encoder.py) this is faster than onnxruntime, here mostly because numpy has a fast Fourier
transform.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import SplitConfig
from ..modules.bands import FLOOR_DB, RANGE_DB, band_edges
from .numpy_layers import Array, Shapes, Stack, exact_weights, mdct
from .split_sizes import bands_of_bins, reference_amplitude

MAGNITUDE_FLOOR, SHAPE_GAIN = 1e-8, 2.0  # as in modules/split_encoder.py
TILE_FRAMES = 16  # frames whose spectra are computed at once


class NumpySplitEncoder:
    """Samples [B, (T + 1) * hop] -> levels [B, T, F]; with these and the coded ones -> latents [B, T, D]."""

    def __init__(self, config: SplitConfig, dimension: int, tensors: dict[str, NDArray[Any]]) -> None:
        """`tensors` are the encoder's weights by name. Raises KeyError if one is missing, ValueError for a wrong shape."""
        own = exact_weights(tensors, _shapes(config, dimension))
        self._config, self._hop, self._step = config, config.hop_length, config.hop_length // config.steps
        edges = band_edges(config.core_rate * config.core_factor / (3 * self._step), config.bands, config.top_bands)
        self._starts, self._n_level_bins = np.array(edges[:-1]), edges[-1]
        self._means = (np.float32(1) / np.diff(edges).astype(np.float32)).astype(np.float64)
        window = _hann(3 * self._step)
        self._level_window = window / window.sum()
        self._window = _hann(2 * self._hop).astype(np.float32) / np.float64(config.core_factor)
        of_levels = own["exact_levels.weight"] / 20, own["coded_levels.weight"] / 20
        parts = 0.3 * own["level.weight"], own["real.weight"], own["imaginary.weight"], *of_levels
        self._features = np.concatenate(parts, axis=1).T.copy()
        self._feature_bias = own["level.bias"] + 60 * sum(part.sum(axis=1) for part in of_levels)
        self._out, self._skip = own["out.weight"].T.copy(), own["skip.weight"].T.copy()
        self._out_bias = own["out.bias"]
        self._stack = Stack(own, config.encoder_depth)
        self._low = mdct(self._hop, config.low_bins, config.core_factor)
        self._band_of_low = bands_of_bins(config, config.core_hop)[: config.low_bins]

    def levels(self, samples: NDArray[np.float32]) -> Array:
        """Return the levels [B, T, F] in dB of samples [B, (T + 1) * hop]."""
        config, step, start = self._config, self._step, self._hop // 2 - self._step
        batch_size, n_frames = len(samples), samples.shape[1] // self._hop - 1
        blocks = _windows(samples.astype(np.float64), start, 3 * step, step, n_frames * config.steps)
        means = np.empty((batch_size, n_frames * config.steps, len(self._starts)))
        for items, frames in _tiles(batch_size, n_frames):
            tile = items, slice(frames.start * config.steps, frames.stop * config.steps)
            parts = np.fft.rfft(blocks[tile] * self._level_window).view(np.float64)[..., : 2 * self._n_level_bins]
            np.add.reduceat(np.square(parts), 2 * self._starts, axis=2, out=means[tile])
        means *= self._means
        levels = (10 * np.log10(means + 1e-10)).reshape(batch_size, n_frames, config.n_levels)
        levels = np.maximum(np.maximum(levels, FLOOR_DB), np.maximum.reduce(levels, axis=2, keepdims=True) - RANGE_DB)
        by_step = levels.reshape(*levels.shape[:2], config.steps, -1)
        slow = by_step[..., : config.slow_bands]
        slow[...] = np.add.reduce(slow, axis=2, keepdims=True) / config.steps
        return levels

    def __call__(
        self, samples: NDArray[np.float32], levels: Array, base: Array, past: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Encode; `base` are the levels that the first codebook decodes to, `past.i` of every block is [B, kernel - 1, W]."""
        batch_size, n_frames, _ = levels.shape
        exact = samples.astype(np.float64)
        known = self._known(exact, levels, base)
        h = known.reshape(batch_size * n_frames, -1) @ self._features
        h += self._feature_bias
        h, after = self._stack(h.reshape(batch_size, n_frames, -1), past)
        latents = h @ self._out
        latents += (self._bins(exact) * self._shape_gain(base)) @ self._skip
        latents += self._out_bias
        return latents.reshape(batch_size, n_frames, -1), after

    def _known(self, exact: Array, levels: Array, base: Array) -> Array:
        """Return what the network knows, [B, T, n]: log power, compressed spectrum, and both levels."""
        batch_size, n_frames, n_levels = levels.shape
        n = self._hop // self._config.core_factor + 1
        known = np.empty((batch_size, n_frames, 3 * n + 2 * n_levels))
        known[..., 3 * n : 3 * n + n_levels], known[..., 3 * n + n_levels :] = levels, base
        windows = _windows(exact, 0, 2 * self._hop, self._hop, n_frames)
        for tile in _tiles(batch_size, n_frames):
            spectrum, own = np.fft.rfft(windows[tile] * self._window)[..., :n], known[tile]
            power = np.square(spectrum.real)
            power += np.square(spectrum.imag)
            power += MAGNITUDE_FLOOR
            np.log(power, out=own[..., :n])
            np.multiply(own[..., :n], -0.35, out=power)
            np.exp(power, out=power)
            np.multiply(spectrum.real, power, out=own[..., n : 2 * n])
            np.multiply(spectrum.imag, power, out=own[..., 2 * n : 3 * n])
        return known

    def _bins(self, exact: Array) -> Array:
        """Return the low MDCT bins of samples [B, (T + 1) * hop]: [B * T, low_bins]."""
        halves = exact.reshape(len(exact), -1, self._hop)
        if halves.shape[1] == 2:  # one product for all streams
            return exact @ self._low
        bins = halves[:, :-1] @ self._low[: self._hop]
        bins += halves[:, 1:] @ self._low[self._hop :]
        return bins.reshape(-1, bins.shape[-1])

    def _shape_gain(self, levels: Array) -> Array:
        """Return the factors of the low MDCT bins: [B, T, F] -> [B * T, low_bins]."""
        core = levels.reshape(-1, self._config.steps, self._config.bands + self._config.top_bands)[..., : self._config.bands]
        power = np.add.reduce(np.exp(core * (math.log(10) / 10)), axis=1) / self._config.steps
        amplitude = np.sqrt(power) * reference_amplitude(self._config)
        gain = SHAPE_GAIN * amplitude ** (self._config.exponent - 1)
        return gain[:, self._band_of_low]


def _windows(samples: Array, start: int, size: int, step: int, n_windows: int) -> Array:
    """Return a view of samples [B, N] as overlapping windows [B, n_windows, size]; numpy's own function takes far longer."""
    assert samples.flags.c_contiguous and start + (n_windows - 1) * step + size <= samples.shape[1]
    (row, sample), shape = samples.strides, (len(samples), n_windows, size)
    return np.ndarray(shape, samples.dtype, samples, start * sample, (row, step * sample, sample))


def _tiles(batch_size: int, n_frames: int) -> Iterator[tuple[slice, slice]]:
    """Yield parts of [B, T] with few frames: their spectra stay in the processor's cache."""
    items, frames = max(1, TILE_FRAMES // max(1, n_frames)), min(n_frames, TILE_FRAMES)
    for item in range(0, batch_size, items):
        for frame in range(0, n_frames, frames):
            yield slice(item, min(item + items, batch_size)), slice(frame, min(frame + frames, n_frames))


def _hann(length: int) -> Array:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _shapes(config: SplitConfig, dimension: int) -> Shapes:
    """Return the shapes of the encoder's weights."""
    width, n_bins = config.encoder_width, config.hop_length // config.core_factor + 1
    shapes: Shapes = {f"{name}.weight": (width, n_bins) for name in ("level", "real", "imaginary")}
    shapes |= {f"{name}_levels.weight": (width, config.n_levels) for name in ("exact", "coded")}
    shapes |= {"level.bias": (width,), "out.weight": (dimension, width), "out.bias": (dimension,)}
    shapes["skip.weight"] = dimension, config.low_bins
    return shapes | Stack.shapes(width, config.expand * width, config.encoder_depth, config.kernel_size)
