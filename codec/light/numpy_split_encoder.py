"""The split codec's levels and encoder in numpy, for models whose weights are here: what their graphs compute, in float64 too.

As for the hybrid encoder (numpy_encoder.py) this is faster than onnxruntime, here mostly because numpy has a fast Fourier
transform.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import SplitConfig
from ..modules.bands import FLOOR_DB, RANGE_DB, band_edges
from .numpy_layers import Array, Shapes, Stack, exact_weights, mdct
from .split_sizes import bands_of_bins, reference_amplitude

MAGNITUDE_FLOOR, SHAPE_GAIN = 1e-8, 2.0  # as in modules/split_encoder.py


class NumpySplitEncoder:
    """Samples [B, (T + 1) * hop] -> levels [B, T, F]; with these and the coded ones -> latents [B, T, D]."""

    def __init__(self, config: SplitConfig, dimension: int, tensors: dict[str, NDArray[Any]]) -> None:
        """`tensors` are the encoder's weights by name. Raises KeyError if one is missing, ValueError for a wrong shape."""
        own = exact_weights(tensors, _shapes(config, dimension))
        self._config, self._hop, self._step = config, config.hop_length, config.hop_length // config.steps
        edges = band_edges(config.core_rate * config.core_factor / (3 * self._step), config.bands, config.top_bands)
        self._starts, self._n_level_bins = edges[:-1], edges[-1]
        self._means = (np.float32(1) / np.diff(edges).astype(np.float32)).astype(np.float64)
        window = _hann(3 * self._step)
        self._level_window = window / window.sum()
        self._window = _hann(2 * self._hop).astype(np.float32) / np.float64(config.core_factor)
        names = "level", "real", "imaginary", "exact_levels", "coded_levels"
        self._features = np.concatenate([own[f"{name}.weight"] for name in names], axis=1).T.copy()
        self._feature_bias = own["level.bias"]
        self._out = np.concatenate([own["out.weight"], own["skip.weight"]], axis=1).T.copy()
        self._out_bias = own["out.bias"]
        self._stack = Stack(own, config.encoder_depth)
        self._low = mdct(self._hop, config.low_bins, config.core_factor)
        self._band_of_low = bands_of_bins(config, config.core_hop)[: config.low_bins]

    def levels(self, samples: NDArray[np.float32]) -> Array:
        """Return the levels [B, T, F] in dB of samples [B, (T + 1) * hop]."""
        config, step, start = self._config, self._step, self._hop // 2 - self._step
        exact = samples.astype(np.float64)
        n_blocks = (samples.shape[1] // self._hop - 1) * config.steps
        blocks = np.lib.stride_tricks.sliding_window_view(exact[:, start:], 3 * step, axis=1)[:, ::step][:, :n_blocks]
        spectrum = np.fft.rfft(blocks * self._level_window)[..., : self._n_level_bins]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        means = np.add.reduceat(power, self._starts, axis=2) * self._means
        levels = (10 * np.log10(means + 1e-10)).reshape(len(samples), -1, config.n_levels)
        levels = np.maximum(np.maximum(levels, FLOOR_DB), levels.max(axis=2, keepdims=True) - RANGE_DB)
        by_step = levels.reshape(*levels.shape[:2], config.steps, -1)
        slow = by_step[..., : config.slow_bands]
        slow[...] = slow.mean(axis=2, keepdims=True)
        return levels

    def __call__(
        self, samples: NDArray[np.float32], levels: Array, base: Array, past: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Encode; `base` are the levels that the first codebook decodes to, `past.i` of every block is [B, kernel - 1, W]."""
        batch_size, n_frames, _ = levels.shape
        frames = np.lib.stride_tricks.sliding_window_view(samples, 2 * self._hop, axis=1)[:, :: self._hop].astype(np.float64)
        spectrum = np.fft.rfft(frames * self._window)[..., : self._hop // self._config.core_factor + 1]
        log_power = np.log(np.square(spectrum.real) + np.square(spectrum.imag) + MAGNITUDE_FLOOR)
        scale = np.exp(-0.35 * log_power)
        known = [0.3 * log_power, spectrum.real * scale, spectrum.imag * scale, (levels + 60) / 20, (base + 60) / 20]
        h = np.concatenate(known, axis=2).reshape(batch_size * n_frames, -1) @ self._features
        h += self._feature_bias
        h, after = self._stack(h.reshape(batch_size, n_frames, -1), past)
        low = frames.reshape(-1, 2 * self._hop) @ self._low
        low *= SHAPE_GAIN * self._envelope(base) ** (self._config.exponent - 1)
        latents = np.concatenate([h, low], axis=1) @ self._out + self._out_bias
        return latents.reshape(batch_size, n_frames, -1), after

    def _envelope(self, levels: Array) -> Array:
        """Return the amplitudes of the low MDCT bins: [B, T, F] -> [B * T, low_bins]."""
        core = levels.reshape(-1, self._config.steps, self._config.bands + self._config.top_bands)[..., : self._config.bands]
        amplitude = np.sqrt(np.exp(core * (math.log(10) / 10)).mean(axis=1)) * reference_amplitude(self._config)
        return amplitude[:, self._band_of_low]


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
