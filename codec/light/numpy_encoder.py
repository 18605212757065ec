"""The hybrid encoder in numpy, for models whose weights are here: what the encoder's graph computes, in float64 too.

numpy multiplies by float64 matrices faster than onnxruntime does: three times as fast for a single frame, by a fifth for
many. So onnxruntime is not even loaded to encode. The graph is for other programs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...format.errors import ArgumentError
from ..config import HybridConfig

MOST_ROWS = 64  # frames of all batch items together that are computed at once: they stay in the processor's cache
COMPAND_GAIN, MAGNITUDE_FLOOR, EPSILON = 3.0, 1e-8, 1e-5  # as in modules/hybrid.py
GELU_STEPS, GELU_RANGE = 512, 9  # as in filterbanks.py

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Block:
    """The weights of one CausalBlock; `down` and its bias include the block's scale."""

    taps: Array  # [kernel, W]
    bias: Array
    gain: Array  # of the norm
    offset: Array
    up: Array  # [W, E]
    up_bias: Array
    down: Array  # [E, W]
    down_bias: Array


class NumpyEncoder:
    """Windows of samples [B, T, window] and the past of every block -> latents [B, T, D] and the new past."""

    def __init__(self, config: HybridConfig, dimension: int, tensors: dict[str, NDArray[Any]]) -> None:
        """`tensors` are the encoder's weights by name. Raises KeyError if one is missing, ValueError for a wrong shape."""
        own = {name.removeprefix("encoder."): tensor.astype(np.float64) for name, tensor in tensors.items()}
        for name, shape in _shapes(config, dimension).items():
            if own[name].shape != shape:
                raise ArgumentError(f"encoder.{name} must be {list(shape)}, got {list(own[name].shape)}")
        self._config, self._hop, self._window = config, config.hop_length, config.encoder_window * config.hop_length
        self._context = (self._window - self._hop) // 2
        names = ["real", "imaginary", "level", *(["fine_level"] if config.fine_blocks else [])]
        self._features = np.concatenate([own[f"{name}.weight"] for name in names], axis=1).T.copy()
        self._feature_bias = own["level.bias"]
        self._out = np.concatenate([own["out.weight"], own["skip.weight"]], axis=1).T.copy()
        self._out_bias = own["out.bias"]
        self._blocks = [_block(own, f"stack.blocks.{i}.") for i in range(config.encoder_depth)]
        self._fourier = _fourier(self._window)
        self._low = _mdct(self._hop, config.low_bins)
        if config.fine_blocks:
            self._short = self._hop // config.fine_blocks
            self._short_fourier = _fourier(2 * self._short)
        self._tables = _normal_tables()

    def __call__(self, windows: NDArray[np.float32], past: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Encode the windows; `past.i` of every block is [B, kernel - 1, W]."""
        batch_size, n_frames, _ = windows.shape
        frames = windows.reshape(-1, self._window).astype(np.float64)
        h = self._features_of(frames) @ self._features
        h += self._feature_bias
        after = {}
        for (name, before), block in zip(past.items(), self._blocks, strict=True):
            padded = np.concatenate([before, h.reshape(batch_size, n_frames, -1)], axis=1)
            after[name] = padded[:, n_frames:]
            h = h + self._perceptron(self._convolved(padded, n_frames, block), block)
        start = self._context - self._hop // 2
        low = frames[:, start : start + 2 * self._hop] @ self._low
        companded = COMPAND_GAIN * np.copysign(np.sqrt(np.abs(low) + MAGNITUDE_FLOOR), low) * (low != 0)
        latents = np.concatenate([h, companded], axis=1) @ self._out + self._out_bias
        return latents.reshape(batch_size, n_frames, -1), after

    def _features_of(self, frames: Array) -> Array:
        real, imaginary = frames @ self._fourier[0], frames @ self._fourier[1]
        log_power = np.log(real * real + imaginary * imaginary + MAGNITUDE_FLOOR)
        scale = np.exp(-0.35 * log_power)
        parts = [real * scale, imaginary * scale, 0.3 * log_power]
        if self._config.fine_blocks:
            start = self._context - self._short // 2
            tiles = frames[:, start : start + self._hop + self._short].reshape(len(frames), -1, self._short)
            blocks = np.concatenate([tiles[:, :-1], tiles[:, 1:]], axis=2)
            real, imaginary = blocks @ self._short_fourier[0], blocks @ self._short_fourier[1]
            parts.append(0.3 * np.log(real * real + imaginary * imaginary + MAGNITUDE_FLOOR).reshape(len(frames), -1))
        return np.concatenate(parts, axis=1)

    def _convolved(self, padded: Array, n_frames: int, block: _Block) -> Array:
        total = block.bias + padded[:, :n_frames] * block.taps[0]
        for i in range(1, len(block.taps)):
            total += padded[:, i : i + n_frames] * block.taps[i]
        return total.reshape(-1, total.shape[-1])

    def _perceptron(self, h: Array, block: _Block) -> Array:
        h = h - h.mean(axis=1, keepdims=True)
        variance = np.einsum("mw,mw->m", h, h)[:, None] / h.shape[1]
        h *= block.gain / np.sqrt(variance + EPSILON)
        h += block.offset
        h = h @ block.up
        h += block.up_bias
        result: Array = self._gelu(h) @ block.down + block.down_bias
        return result

    def _gelu(self, x: Array) -> Array:
        """x times the normal distribution function, as in hybrid_graphs.py."""
        inside = np.minimum(np.maximum(x, -GELU_RANGE), GELU_RANGE)
        place = np.rint(inside * GELU_STEPS)
        index = (place + GELU_RANGE * GELU_STEPS).astype(np.intp)
        x0 = place * (1 / GELU_STEPS)
        h = inside - x0
        product = x0 * h
        series = h + h * ((product * product - h * h) * (1 / 6) - 0.5 * product)
        gelu: Array = x * (self._tables[0].take(index) + self._tables[1].take(index) * series)
        return gelu


def _shapes(config: HybridConfig, dimension: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the encoder's weights."""
    width, inner = config.encoder_width, config.expand * config.encoder_width
    n_bins = config.encoder_window * config.hop_length // 2 + 1
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (width, n_bins) for name in ("real", "imaginary", "level")}
    shapes |= {"level.bias": (width,), "out.weight": (dimension, width), "out.bias": (dimension,)}
    shapes["skip.weight"] = dimension, config.low_bins
    if config.fine_blocks:
        shapes["fine_level.weight"] = width, config.hop_length + config.fine_blocks
    for i in range(config.encoder_depth):
        block: dict[str, tuple[int, ...]] = {
            "depthwise.weight": (width, 1, config.kernel_size), "up.weight": (inner, width), "up.bias": (inner,),
            "down.weight": (width, inner),
        }  # fmt: skip
        block |= dict.fromkeys(("depthwise.bias", "norm.weight", "norm.bias", "down.bias", "scale"), (width,))
        shapes |= {f"stack.blocks.{i}.{name}": shape for name, shape in block.items()}
    return shapes


def _block(own: dict[str, Array], prefix: str) -> _Block:
    scale = own[f"{prefix}scale"]
    return _Block(
        own[f"{prefix}depthwise.weight"][:, 0].T.copy(), own[f"{prefix}depthwise.bias"],
        own[f"{prefix}norm.weight"], own[f"{prefix}norm.bias"],
        own[f"{prefix}up.weight"].T.copy(), own[f"{prefix}up.bias"],
        (own[f"{prefix}down.weight"] * scale[:, None]).T.copy(), own[f"{prefix}down.bias"] * scale,
    )  # fmt: skip


def _fourier(length: int) -> tuple[Array, Array]:
    """Return real and imaginary part of the Fourier transform of a frame under a Hann window: [length, bins] each."""
    n = np.arange(length)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * n / length)).astype(np.float32).astype(np.float64)[:, None]
    angle = 2 * np.pi / length * (n[:, None] * np.arange(length // 2 + 1) % length)
    return np.cos(angle) * window, -np.sin(angle) * window


def _mdct(hop: int, n_bins: int) -> Array:
    """Return the first columns of the windowed cosine basis [2 * hop, n_bins], rounded to float32 (modules/spectral.py)."""
    n, k = np.arange(2 * hop)[:, None] + 0.5, np.arange(n_bins) + 0.5
    basis = np.cos(np.pi / hop * (n + hop / 2) * k) * np.sin(np.pi / (2 * hop) * n) * math.sqrt(2 / hop)
    return basis.astype(np.float32).astype(np.float64)


def _normal_tables() -> tuple[Array, Array]:
    """Return the normal distribution function and its density at the places of the GELU table."""
    places = np.arange(-GELU_RANGE * GELU_STEPS, GELU_RANGE * GELU_STEPS + 1) / GELU_STEPS
    below = np.array([0.5 * math.erfc(-x * math.sqrt(0.5)) for x in places.tolist()])
    return below, np.exp(-0.5 * places**2) / math.sqrt(2 * math.pi)
