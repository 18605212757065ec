"""Layers in numpy and float64 that encoders of both kinds are made of: the same values as those of their graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...format.errors import ArgumentError

EPSILON = 1e-5  # of norms, as in modules/convnext.py
GELU_STEPS, GELU_RANGE = 512, 9  # as in filterbanks.py

Array = NDArray[np.float64]
Shapes = dict[str, tuple[int, ...]]


def exact_weights(tensors: Mapping[str, NDArray[Any]], shapes: Shapes) -> dict[str, Array]:
    """Return an encoder's weights in float64, without "encoder." in their names.

    Raises KeyError if one is missing, ValueError for a wrong shape.
    """
    own = {name.removeprefix("encoder."): tensor.astype(np.float64) for name, tensor in tensors.items()}
    for name, shape in shapes.items():
        if own[name].shape != shape:
            raise ArgumentError(f"encoder.{name} must be {list(shape)}, got {list(own[name].shape)}")
    return own


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


class Stack:
    """The blocks of CausalStack: [B, T, W] and the past of every block -> [B * T, W] and the new past."""

    def __init__(self, own: dict[str, Array], depth: int) -> None:
        self._blocks = [_block(own, f"stack.blocks.{i}.") for i in range(depth)]
        self._tables = _normal_tables()

    @staticmethod
    def shapes(width: int, inner: int, depth: int, kernel_size: int) -> Shapes:
        """Return the shapes of the weights."""
        shapes: Shapes = {}
        for i in range(depth):
            block: Shapes = {
                "depthwise.weight": (width, 1, kernel_size), "up.weight": (inner, width), "up.bias": (inner,),
                "down.weight": (width, inner),
            }  # fmt: skip
            block |= dict.fromkeys(("depthwise.bias", "norm.weight", "norm.bias", "down.bias", "scale"), (width,))
            shapes |= {f"stack.blocks.{i}.{name}": shape for name, shape in block.items()}
        return shapes

    def __call__(self, h: Array, past: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Run all blocks; `past.i` of every block is [B, kernel - 1, W]."""
        _, n_frames, width = h.shape
        rows, after = h.reshape(-1, width), {}
        for (name, before), block in zip(past.items(), self._blocks, strict=True):
            padded = np.concatenate([before, rows.reshape(h.shape)], axis=1)
            after[name] = padded[:, n_frames:]
            rows = rows + self._perceptron(_convolved(padded, n_frames, block), block)
        return rows, after

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
        h = np.clip(x, -GELU_RANGE, GELU_RANGE)
        product = np.rint(h * GELU_STEPS)
        index = product.astype(np.intp)
        index += GELU_RANGE * GELU_STEPS
        product *= 1 / GELU_STEPS  # the table's place
        h -= product
        product *= h
        series = product * product  # h + h * ((product^2 - h^2) / 6 - product / 2), without temporary arrays
        series -= h * h
        series *= 1 / 6
        product *= 0.5
        series -= product
        series *= h
        series += h
        series *= self._tables[1].take(index)
        series += self._tables[0].take(index)
        series *= x
        return series


def _convolved(padded: Array, n_frames: int, block: _Block) -> Array:
    if n_frames == 1:  # a step of many streams
        one: Array = np.einsum("bkw,kw->bw", padded, block.taps)
        one += block.bias
        return one
    total = block.bias + padded[:, :n_frames] * block.taps[0]
    for i in range(1, len(block.taps)):
        total += padded[:, i : i + n_frames] * block.taps[i]
    return total.reshape(-1, total.shape[-1])


def _block(own: dict[str, Array], prefix: str) -> _Block:
    scale = own[f"{prefix}scale"]
    return _Block(
        own[f"{prefix}depthwise.weight"][:, 0].T.copy(), own[f"{prefix}depthwise.bias"],
        own[f"{prefix}norm.weight"], own[f"{prefix}norm.bias"],
        own[f"{prefix}up.weight"].T.copy(), own[f"{prefix}up.bias"],
        (own[f"{prefix}down.weight"] * scale[:, None]).T.copy(), own[f"{prefix}down.bias"] * scale,
    )  # fmt: skip


def mdct(hop: int, n_bins: int, core_factor: int = 1) -> Array:
    """Return the first columns of the windowed cosine basis [2 * hop, n_bins], rounded to float32 (modules/spectral.py).

    With `core_factor`, amplitudes are those of the core's own MDCT.
    """
    n, k = np.arange(2 * hop)[:, None] + 0.5, np.arange(n_bins) + 0.5
    basis = np.cos(np.pi / hop * (n + hop / 2) * k) * np.sin(np.pi / (2 * hop) * n) * math.sqrt(2 / hop)
    return (basis / math.sqrt(core_factor)).astype(np.float32).astype(np.float64)


def _normal_tables() -> tuple[Array, Array]:
    """Return the normal distribution function and its density at the places of the GELU table."""
    places = np.arange(-GELU_RANGE * GELU_STEPS, GELU_RANGE * GELU_STEPS + 1) / GELU_STEPS
    below = np.array([0.5 * math.erfc(-x * math.sqrt(0.5)) for x in places.tolist()])
    return below, np.exp(-0.5 * places**2) / math.sqrt(2 * math.pi)
