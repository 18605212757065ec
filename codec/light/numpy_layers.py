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
TILE = 12_288

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
    """The weights of one CausalBlock; `up` includes the norm's gain and offset, `down` the block's scale."""

    taps: Array  # [kernel, W]
    bias: Array
    up: Array  # [W, E]
    up_bias: Array
    down: Array  # [E, W]
    down_bias: Array


class Stack:
    """The blocks of CausalStack: [B, T, W] and the past of every block -> [B * T, W] and the new past."""

    def __init__(self, own: dict[str, Array], depth: int) -> None:
        self._blocks = [_block(own, f"stack.blocks.{i}.") for i in range(depth)]
        self._gelu = Gelu()

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
        """Run all blocks; `past.i` of every block is [B, kernel - 1, W]. Overwrites `h`."""
        _, n_frames, width = h.shape
        rows, after = h.reshape(-1, width), {}
        inner = np.empty((len(rows), self._blocks[0].up.shape[1])) if self._blocks else rows
        for (name, before), block in zip(past.items(), self._blocks, strict=True):
            padded = np.concatenate([before, rows.reshape(h.shape)], axis=1)
            after[name] = padded[:, n_frames:]
            x = _normalized(_convolved(padded, n_frames, block))
            np.matmul(x, block.up, out=inner)
            self._gelu(inner, block.up_bias)
            np.matmul(inner, block.down, out=x)
            x += block.down_bias
            rows += x
        return rows, after


class Gelu:
    """x + bias times the normal distribution function there, in place; computed as in hybrid_graphs.py."""

    def __init__(self) -> None:
        self._below, self._density = _normal_tables()

    def __call__(self, rows: Array, bias: Array) -> None:
        """Replace rows [M, E], a few at a time: what they need then stays in the processor's cache."""
        size = min(len(rows), max(1, TILE // rows.shape[1]))
        room, places = np.empty((3, size, rows.shape[1])), np.empty((size, rows.shape[1]), np.intp)
        for first in range(0, len(rows), size):
            tile = rows[first : first + size]
            tile += bias
            self._replace(tile, room[:, : len(tile)], places[: len(tile)])

    def _replace(self, x: Array, room: Array, places: NDArray[np.intp]) -> None:
        h, product, series = room
        np.minimum(x, GELU_RANGE, out=h)
        np.maximum(h, -GELU_RANGE, out=h)
        np.multiply(h, GELU_STEPS, out=product)
        np.rint(product, out=product)
        np.copyto(places, product, casting="unsafe")
        places += GELU_RANGE * GELU_STEPS
        product *= 1 / GELU_STEPS  # the table's place
        h -= product
        product *= h
        np.multiply(product, product, out=series)  # h + h * ((product^2 - h^2) / 6 - product / 2)
        product *= 3
        series -= product
        np.multiply(h, h, out=product)
        series -= product
        series *= 1 / 6
        series *= h
        series += h
        series *= self._density.take(places, out=product, mode="clip")
        series += self._below.take(places, out=product, mode="clip")
        x *= series


def _normalized(x: Array) -> Array:
    """LayerNorm without gain and offset, in place: x [M, W]."""
    x -= np.add.reduce(x, axis=1, keepdims=True) / x.shape[1]
    variance = np.einsum("mw,mw->m", x, x)[:, None] / x.shape[1]
    x /= np.sqrt(variance + EPSILON)
    return x


def _convolved(padded: Array, n_frames: int, block: _Block) -> Array:
    """Depthwise convolution: [B, kernel - 1 + T, W] -> [B * T, W]."""
    batch_size, _, width = padded.shape
    if n_frames == 1:  # a step of many streams
        one: Array = np.einsum("bkw,kw->bw", padded, block.taps)
        one += block.bias
        return one
    total = np.empty((batch_size, n_frames, width))
    size = max(1, TILE // (batch_size * width))
    for first in range(0, n_frames, size):
        tile = total[:, first : first + size]
        stop = first + tile.shape[1]
        np.multiply(padded[:, first:stop], block.taps[0], out=tile)
        tile += block.bias
        room = np.empty_like(tile)
        for i in range(1, len(block.taps)):
            tile += np.multiply(padded[:, first + i : stop + i], block.taps[i], out=room)
    return total.reshape(-1, width)


def _block(own: dict[str, Array], prefix: str) -> _Block:
    scale, up = own[f"{prefix}scale"], own[f"{prefix}up.weight"]
    return _Block(
        own[f"{prefix}depthwise.weight"][:, 0].T.copy(), own[f"{prefix}depthwise.bias"],
        (up * own[f"{prefix}norm.weight"]).T.copy(), own[f"{prefix}up.bias"] + up @ own[f"{prefix}norm.bias"],
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
