"""The layers of SEANet codecs as data, for the graphs and for the numpy code that feeds them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..config import SeanetConfig


@dataclass(frozen=True)
class ConvLayer:
    """A convolution, after an ELU if `elu`."""

    name: str
    n_in: int
    n_out: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    elu: bool = False

    @property
    def span(self) -> int:
        """Rows that a window covers."""
        return (self.kernel_size - 1) * self.dilation + 1

    def right(self, config: SeanetConfig) -> int:
        """Rows of padding after a signal, besides those that complete its last window."""
        return 0 if config.causal else (self.span - self.stride) // 2

    def left(self, config: SeanetConfig) -> int:
        """Rows of padding before a signal."""
        return self.span - self.stride - self.right(config)

    def slack(self, config: SeanetConfig) -> int:
        """Rows kept before the next window, so that the signal's end can be reflected."""
        reflects = config.pad_mode == "reflect"
        return max(0, self.right(config) + self.stride - 1 - self.left(config)) if reflects else 0

    def rows(self, n_rows: int, config: SeanetConfig) -> int:
        """Return how many rows the first block of a signal gives; 0 if it is too short for that."""
        left = self.left(config)
        reach = max(left, self.right(config) + self.stride - 1) if config.pad_mode == "reflect" else 0
        return max(0, (left + n_rows - self.span) // self.stride + 1) if n_rows > reach else 0


@dataclass(frozen=True)
class ResidualLayer:
    """Two convolutions added to their input, or to a 1x1 convolution of it."""

    wide: ConvLayer
    narrow: ConvLayer
    skip: ConvLayer | None

    def rows(self, n_rows: int, config: SeanetConfig) -> int:
        """See ConvLayer."""
        return self.wide.rows(n_rows, config)


@dataclass(frozen=True)
class LstmLayer:
    """Recurrent layers added to their input."""

    name: str
    width: int

    def rows(self, n_rows: int, config: SeanetConfig) -> int:
        """See ConvLayer."""
        return n_rows


@dataclass(frozen=True)
class UpLayer:
    """A transposed convolution with a kernel of two strides, after an ELU."""

    name: str
    n_in: int
    n_out: int
    stride: int

    def trims(self, config: SeanetConfig) -> tuple[int, int]:
        """Return how many rows are cut off at the start and at the end of a signal."""
        right = math.ceil(self.stride * config.trim_right_ratio) if config.causal else self.stride // 2
        return self.stride - right, right

    def rows(self, n_rows: int, config: SeanetConfig) -> int:
        """See ConvLayer."""
        return max(0, n_rows * self.stride - self.trims(config)[0]) if n_rows else 0


SeanetLayer = ConvLayer | ResidualLayer | LstmLayer | UpLayer


def encoder_layers(config: SeanetConfig, channels: int, dimension: int) -> list[SeanetLayer]:
    """Return the encoder's layers in order."""
    width = config.n_filters
    layers: list[SeanetLayer] = [ConvLayer("layers.0", channels, width, config.kernel_size)]
    for stride in reversed(config.strides):
        layers.extend(_residuals(config, width, len(layers)))
        layers.append(ConvLayer(f"layers.{len(layers)}", width, 2 * width, 2 * stride, stride, elu=True))
        width *= 2
    if config.lstm_layers:
        layers.append(LstmLayer(f"layers.{len(layers)}", width))
    layers.append(ConvLayer(f"layers.{len(layers)}", width, dimension, config.last_kernel_size, elu=True))
    return layers


def decoder_layers(config: SeanetConfig, channels: int, dimension: int) -> list[SeanetLayer]:
    """Return the decoder's layers in order."""
    width = config.n_filters * 2 ** len(config.strides)
    layers: list[SeanetLayer] = [ConvLayer("layers.0", dimension, width, config.kernel_size)]
    if config.lstm_layers:
        layers.append(LstmLayer("layers.1", width))
    for stride in config.strides:
        layers.append(UpLayer(f"layers.{len(layers)}", width, width // 2, stride))
        width //= 2
        layers.extend(_residuals(config, width, len(layers)))
    layers.append(ConvLayer(f"layers.{len(layers)}", width, channels, config.last_kernel_size, elu=True))
    return layers


def _residuals(config: SeanetConfig, width: int, first: int) -> Iterator[ResidualLayer]:
    for i in range(config.n_residual_layers):
        name, inner = f"layers.{first + i}", width // config.compress
        wide = ConvLayer(f"{name}.body.0", width, inner, config.residual_kernel_size, 1, config.dilation_base**i, elu=True)
        skip = None if config.true_skip else ConvLayer(f"{name}.skip", width, width, 1)
        yield ResidualLayer(wide, ConvLayer(f"{name}.body.1", inner, width, 1, elu=True), skip)


def least_frames(layers: list[SeanetLayer], config: SeanetConfig, rows_per_frame: int) -> int:
    """Return how many frames the first block of a stream needs, so that every layer gives something."""
    n_frames = 1
    while True:
        n_rows = n_frames * rows_per_frame
        for layer in layers:
            n_rows = layer.rows(n_rows, config)
        if n_rows:
            return n_frames
        n_frames += 1


def streams(config: SeanetConfig) -> bool:
    """Return True if a signal can be processed in blocks: no layer normalizes over time."""
    return config.norm != "time_group_norm"
