"""EnCodec's convolutional encoder and decoder (arXiv 2210.13438, section 3.1).

On a CPU a signal is processed in blocks, so that the values between two layers stay in the cache.
Layers with many rows per frame use blocks of few frames; layers whose time is spent on reading
weights use long blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ...format.errors import ArgumentError
from ..config import SeanetConfig
from .conv import Conv, Layer, TransposedConv
from .lstm import SkipLstm

OUTER_FRAMES, INNER_FRAMES = 16, 750  # per block, for layers with many rows per frame and for the others


@dataclass
class ResidualState:
    """What a streaming residual block keeps between two calls."""

    body: list[Any]
    waiting: Tensor  # [B, n, C]: input that waits for the body's output


class ResidualBlock(Layer):
    """Two convolutions with activations, added to the input or to a 1x1 convolution of it."""

    def __init__(self, channels: int, dilation: int, config: SeanetConfig) -> None:
        super().__init__()
        inner, alpha = channels // config.compress, config.elu_alpha
        wide = conv(config, channels, inner, config.residual_kernel_size, dilation=dilation, elu_alpha=alpha)
        self.body = nn.ModuleList([wide, conv(config, inner, channels, 1, elu_alpha=alpha)])
        self.skip = None if config.true_skip else conv(config, channels, channels, 1)
        self.channels = channels

    def initial_state(self, batch_size: int) -> ResidualState:
        """Return the state before any input."""
        none = next(self.parameters()).new_zeros(batch_size, 0, self.channels)
        return ResidualState(initial_states(self.body, batch_size), none)

    def forward(self, rows: Tensor, state: ResidualState | None = None, last: bool = True) -> Tensor:
        """[B, N, C] -> [B, N, C]; with a state, the rows that this block completes."""
        state = state or self.initial_state(rows.shape[0])
        out = run(self.body, state.body, rows, last)
        if state.waiting.shape[1]:
            rows = torch.cat([state.waiting, rows], dim=1)
        state.waiting = rows[:, out.shape[1] :].clone()
        rows = rows[:, : out.shape[1]]
        skipped = rows if self.skip is None else self.skip(rows)
        return out.add_(skipped) if self._is_fast(rows) else skipped + out


def conv(
    config: SeanetConfig,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    elu_alpha: float | None = None,
) -> Conv:
    """Return a convolution with the model's padding and normalization."""
    group_norm = config.norm == "time_group_norm"
    return Conv(in_channels, out_channels, kernel_size, stride, dilation, config.causal, config.pad_mode, group_norm, elu_alpha)


def initial_states(layers: Iterable[Any], batch_size: int) -> list[Any]:
    """Return one state per layer."""
    return [layer.initial_state(batch_size) for layer in layers]


def run(layers: Iterable[Any], states: Iterable[Any], rows: Tensor, last: bool) -> Tensor:
    """Run the layers in sequence."""
    for layer, state in zip(layers, states, strict=True):
        rows = layer(rows, state, last)
    return rows


def run_in_blocks(layers: Iterable[Any], states: Iterable[Any], rows: Tensor, last: bool, size: int) -> Tensor:
    """Like `run`, on blocks of `size` rows."""
    return torch.cat([run(layers, states, block, end) for block, end in blocks(rows, size, last)], dim=1)


def blocks(rows: Tensor, size: int, last: bool) -> Iterator[tuple[Tensor, bool]]:
    """Cut rows [B, N, C] into blocks of `size`; yields each with True if it ends the signal."""
    parts = rows.split(size, dim=1)
    return ((part, last and i == len(parts) - 1) for i, part in enumerate(parts))


class _Seanet(Layer):
    """Common parts of encoder and decoder."""

    def __init__(self, config: SeanetConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList()

    def initial_state(self, batch_size: int, first_frame: int = 0) -> list[Any]:
        """Return one state per layer, for a stream from any frame. Raises ValueError for models that normalize over time."""
        if self.config.norm == "time_group_norm":
            raise ArgumentError("time_group_norm needs the whole signal: this model cannot stream")
        return initial_states(self.layers, batch_size)

    def _residual_blocks(self, width: int) -> Iterator[ResidualBlock]:
        return (ResidualBlock(width, self.config.dilation_base**i, self.config) for i in range(self.config.n_residual_layers))

    def _in_blocks(self, rows: Tensor) -> bool:
        return self._is_fast(rows) and self.config.norm != "time_group_norm"

    @property
    def _n_outer(self) -> int:
        """Number of strides whose layers run in small blocks: all but the one next to the latents."""
        return len(self.config.strides) - 1


class SeanetEncoder(_Seanet):
    """Audio [B, C, N] -> latents [B, D, T] with T = ceil(N / hop)."""

    def __init__(self, config: SeanetConfig, channels: int, dimension: int) -> None:
        super().__init__(config)
        width, alpha = config.n_filters, config.elu_alpha
        self.layers.append(conv(config, channels, width, config.kernel_size))
        for stride in reversed(config.strides):
            self.layers.extend(self._residual_blocks(width))
            self.layers.append(conv(config, width, 2 * width, 2 * stride, stride, elu_alpha=alpha))
            width *= 2
        if config.lstm_layers:
            self.layers.append(SkipLstm(width, config.lstm_layers))
        self.layers.append(conv(config, width, dimension, config.last_kernel_size, elu_alpha=alpha))

    def forward(self, wav: Tensor, state: list[Any] | None = None, last: bool = True) -> Tensor:
        """Encode a whole signal, or its next block if `state` is given, which is updated in place.

        Shapes: wav [B, C, N] -> [B, D, T]. With `last` the final frame is completed with the model's
        padding; without it, samples that do not complete a frame are kept.
        """
        rows, hop = wav.transpose(1, 2), self.config.hop_length
        states = state or initial_states(self.layers, len(wav))
        if not self._in_blocks(rows):
            return run(self.layers, states, rows, last).transpose(1, 2)
        n = 1 + self._n_outer * (self.config.n_residual_layers + 1)
        parts, outer_size = [], hop * max(1, OUTER_FRAMES // len(wav))
        for block, end in blocks(rows, INNER_FRAMES * hop, last):
            hidden = run_in_blocks(self.layers[:n], states[:n], block, end, outer_size)
            parts.append(run(self.layers[n:], states[n:], hidden, end))
        return torch.cat(parts, dim=1).transpose(1, 2)


class SeanetDecoder(_Seanet):
    """Latents [B, D, T] -> audio [B, C, T * hop]."""

    def __init__(self, config: SeanetConfig, channels: int, dimension: int) -> None:
        super().__init__(config)
        width, alpha = config.n_filters * 2 ** len(config.strides), config.elu_alpha
        self.layers.append(conv(config, dimension, width, config.kernel_size))
        if config.lstm_layers:
            self.layers.append(SkipLstm(width, config.lstm_layers))
        for stride in config.strides:
            group_norm = config.norm == "time_group_norm"
            up = TransposedConv(width, width // 2, stride, config.causal, config.trim_right_ratio, group_norm, alpha)
            width //= 2
            self.layers.extend([up, *self._residual_blocks(width)])
        self.layers.append(conv(config, width, channels, config.last_kernel_size, elu_alpha=alpha))

    @property
    def reach(self) -> tuple[int, int]:
        """Number of frames before and after its own frame that a decoded sample depends on."""
        return self.config.decoder_context, self.config.decoder_lookahead

    def forward(self, latents: Tensor, state: list[Any] | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal, or its next block if `state` is given, which is updated in place.

        Shapes: latents [B, D, T] -> [B, C, n]; without a state n = T * hop.
        """
        rows = latents.transpose(1, 2)
        states = state or initial_states(self.layers, len(latents))
        if not self._in_blocks(rows):
            return run(self.layers, states, rows, last).transpose(1, 2)
        n = len(self.layers) - 1 - self._n_outer * (self.config.n_residual_layers + 1)
        rows_per_frame = math.prod(self.config.strides[:1])
        parts, outer_size = [], rows_per_frame * max(1, OUTER_FRAMES // len(latents))
        for block, end in blocks(rows, INNER_FRAMES, last):
            hidden = run(self.layers[:n], states[:n], block, end)
            parts.append(run_in_blocks(self.layers[n:], states[n:], hidden, end, outer_size))
        return torch.cat(parts, dim=1).transpose(1, 2)
