"""The hybrid encoder in numpy, for models whose weights are here: what the encoder's graph computes, in float64 too.

numpy multiplies by float64 matrices faster than onnxruntime does: three times as fast for a single frame, by a fifth for
many. So onnxruntime is not even loaded to encode. The graph is for other programs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import HybridConfig
from .numpy_layers import Array, Shapes, Stack, exact_weights, mdct

MOST_ROWS = 64  # frames of all batch items together that are computed at once: they stay in the processor's cache
COMPAND_GAIN, MAGNITUDE_FLOOR = 3.0, 1e-8  # as in modules/hybrid.py


class NumpyEncoder:
    """Windows of samples [B, T, window] and the past of every block -> latents [B, T, D] and the new past."""

    def __init__(self, config: HybridConfig, dimension: int, tensors: dict[str, NDArray[Any]]) -> None:
        """`tensors` are the encoder's weights by name. Raises KeyError if one is missing, ValueError for a wrong shape."""
        own = exact_weights(tensors, _shapes(config, dimension))
        self._config, self._hop, self._window = config, config.hop_length, config.encoder_window * config.hop_length
        self._context = (self._window - self._hop) // 2
        names = ["real", "imaginary", "level", *(["fine_level"] if config.fine_blocks else [])]
        self._features = np.concatenate([own[f"{name}.weight"] for name in names], axis=1).T.copy()
        self._feature_bias = own["level.bias"]
        self._out = np.concatenate([own["out.weight"], own["skip.weight"]], axis=1).T.copy()
        self._out_bias = own["out.bias"]
        self._stack = Stack(own, config.encoder_depth)
        self._taper = _hann(self._window)
        self._low = mdct(self._hop, config.low_bins)
        if config.fine_blocks:
            self._short = self._hop // config.fine_blocks
            self._short_taper = _hann(2 * self._short)

    def __call__(self, windows: NDArray[np.float32], past: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Encode the windows; `past.i` of every block is [B, kernel - 1, W]."""
        batch_size, n_frames, _ = windows.shape
        frames = windows.reshape(-1, self._window).astype(np.float64)
        h = self._features_of(frames) @ self._features
        h += self._feature_bias
        h, after = self._stack(h.reshape(batch_size, n_frames, -1), past)
        start = self._context - self._hop // 2
        low = frames[:, start : start + 2 * self._hop] @ self._low
        companded = COMPAND_GAIN * np.copysign(np.sqrt(np.abs(low) + MAGNITUDE_FLOOR), low) * (low != 0)
        latents = np.concatenate([h, companded], axis=1) @ self._out + self._out_bias
        return latents.reshape(batch_size, n_frames, -1), after

    def _features_of(self, frames: Array) -> Array:
        spectrum = np.fft.rfft(frames * self._taper)
        real, imaginary = spectrum.real, spectrum.imag
        log_power = np.log(real * real + imaginary * imaginary + MAGNITUDE_FLOOR)
        scale = np.exp(-0.35 * log_power)
        parts = [real * scale, imaginary * scale, 0.3 * log_power]
        if self._config.fine_blocks:
            start = self._context - self._short // 2
            tiles = frames[:, start : start + self._hop + self._short].reshape(len(frames), -1, self._short)
            blocks = np.concatenate([tiles[:, :-1], tiles[:, 1:]], axis=2)
            spectrum = np.fft.rfft(blocks * self._short_taper)
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            parts.append(0.3 * np.log(power + MAGNITUDE_FLOOR).reshape(len(frames), -1))
        return np.concatenate(parts, axis=1)


def _shapes(config: HybridConfig, dimension: int) -> Shapes:
    """Return the shapes of the encoder's weights."""
    width, inner = config.encoder_width, config.expand * config.encoder_width
    n_bins = config.encoder_window * config.hop_length // 2 + 1
    shapes: Shapes = {f"{name}.weight": (width, n_bins) for name in ("real", "imaginary", "level")}
    shapes |= {"level.bias": (width,), "out.weight": (dimension, width), "out.bias": (dimension,)}
    shapes["skip.weight"] = dimension, config.low_bins
    if config.fine_blocks:
        shapes["fine_level.weight"] = width, config.hop_length + config.fine_blocks
    return shapes | Stack.shapes(width, inner, config.encoder_depth, config.kernel_size)


def _hann(length: int) -> Array:
    """Return a Hann window, rounded to float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32).astype(np.float64)
