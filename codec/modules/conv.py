"""Convolutions over rows, for a whole signal or block by block.

Inside these networks a signal is *rows* [B, N, C], one row per time step. So a block of time is
contiguous memory, a convolution is a sum of matrix products over shifted views of it, and a
transposed convolution is a plain one that makes `stride` rows at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .matmul import affine, affine_onto

FEW = 16  # numbers per window, so few that copying them is faster than one product per tap


class Layer(nn.Module):
    """A part of a network, from rows to rows, for a whole signal or its next block.

    With `reference` the operations are EnCodec's own in the same order, so that its codes are
    reproduced bit for bit. Without it, on a CPU, they are arranged for speed, with equal values
    except for rounding.
    """

    reference = False

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of a stream before its first row."""
        raise NotImplementedError

    def _is_fast(self, rows: Tensor) -> bool:
        """Return True if the layer computes in place with matrix products."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return False
        return not self.reference and rows.device.type == "cpu"


@dataclass
class ConvState:
    """What a streaming convolution keeps between two calls."""

    rows: Tensor  # [B, n, C]: received rows that are still needed, with the left padding once it is known
    started: bool = False  # whether `rows` includes the left padding


@dataclass(frozen=True)
class Padding:
    """The positions of a convolution's windows: the padding at the ends of a signal and of its blocks.

    A signal of L rows has ceil((L + left + right - span) / stride) + 1 windows. The right side gets
    more padding if the last window is incomplete.
    """

    span: int  # rows that a window covers
    stride: int  # rows from one window to the next
    left: int
    right: int
    mode: str = "constant"  # constant (zeros) | reflect

    @property
    def _reach(self) -> int:
        """Length that a signal must exceed before either of its ends can be reflected."""
        return max(self.left, self.right + self.stride - 1) if self.mode == "reflect" else 0

    @property
    def _slack(self) -> int:
        """Rows kept before the next window, so that the signal's end can be reflected."""
        return max(0, self.right + self.stride - 1 - self.left) if self.mode == "reflect" else 0

    def whole(self, rows: Tensor) -> Tensor:
        """Pad a whole signal [B, L, C]; an empty signal stays empty."""
        n_rows = rows.shape[1]
        if n_rows == 0:
            return rows
        right = self._missing(self.left + n_rows)
        # A signal that is too short to be reflected is extended with silence, which is removed afterwards.
        short = max(0, max(self.left, right) + 1 - n_rows) if self.mode == "reflect" else 0
        padded = self._pad(F.pad(rows, (0, 0, 0, short)) if short else rows, self.left, right)
        return padded[:, : padded.shape[1] - short]

    def next(self, rows: Tensor, state: ConvState, last: bool) -> Tensor:
        """Return the padded rows of all windows that are now complete.

        `rows` are the rows of the state followed by the next rows of the stream.
        """
        if not state.started and (last or rows.shape[1] <= self._reach):
            state.rows = rows
            return self.whole(rows) if last else rows[:, :0]
        if not state.started:
            rows = F.pad(self._pad(rows, self.left, 0), (0, 0, self._slack, 0))
            state.started = True
        if last:
            rows = self._pad(rows, 0, self._missing(rows.shape[1] - self._slack))
        ready = rows[:, self._slack :]
        n_windows = max(0, (ready.shape[1] - self.span) // self.stride + 1)
        state.rows = rows[:, n_windows * self.stride :].clone()  # a copy, so that the block's memory is released
        return ready[:, : (n_windows - 1) * self.stride + self.span] if n_windows else ready[:, :0]

    def _missing(self, n_rows: int) -> int:
        """Return how many rows to append to the last `n_rows` of a signal, which start with a window."""
        n_windows = max(0, -(-(n_rows + self.right - self.span) // self.stride) + 1)
        return (n_windows - 1) * self.stride + self.span - n_rows if n_windows else 0

    def _pad(self, rows: Tensor, left: int, right: int) -> Tensor:
        if left == right == 0:
            return rows
        if self.mode != "reflect":
            return F.pad(rows, (0, 0, left, right))
        before, after = rows[:, 1 : left + 1], rows[:, rows.shape[1] - 1 - right : -1]
        return torch.cat([before.flip(1), rows, after.flip(1)], dim=1)


class Conv(Layer):
    """An ELU, if `elu_alpha` is given, and a convolution from N to ceil(N / stride) rows.

    `weight` is [kernel, in, out], the factors of the matrix products.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = True,
        pad_mode: str = "reflect",
        group_norm: bool = False,
        elu_alpha: float | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.elu_alpha = stride, dilation, elu_alpha
        self.weight = nn.Parameter(torch.empty(kernel_size, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.norm = nn.GroupNorm(1, out_channels) if group_norm else None
        span = (kernel_size - 1) * dilation + 1
        right = 0 if causal else (span - stride) // 2
        self.padding = Padding(span, stride, span - stride - right, right, pad_mode)
        _initialize(self.weight, self.bias, in_channels * kernel_size)

    def initial_state(self, batch_size: int) -> ConvState:
        """Return a state without rows."""
        return ConvState(self.weight.new_zeros(batch_size, 0, self.weight.shape[1]))

    def forward(self, rows: Tensor, state: ConvState | None = None, last: bool = True) -> Tensor:
        """[B, N, in] -> [B, T, out]; with a state, the rows that this block completes."""
        state = state or self.initial_state(rows.shape[0])
        is_fast = self._is_fast(rows)
        padded = self.padding.next(activated(state.rows, rows, self.elu_alpha, is_fast), state, last)
        if is_fast:
            out = products(padded, self.weight, self.bias, self.stride, self.dilation)
        else:
            out = self._convolution(padded)
        return _normalized(out, self.norm)

    def _convolution(self, rows: Tensor) -> Tensor:
        if rows.shape[1] == 0:
            return rows.new_zeros(rows.shape[0], 0, len(self.bias))
        # Cloned: with one channel, contiguous() keeps strides that torch takes for another layout, with another order of sums.
        signal = rows.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        weight = self.weight.permute(2, 1, 0).contiguous()
        return F.conv1d(signal, weight, self.bias, self.stride, dilation=self.dilation).transpose(1, 2)


class TransposedConv(Layer):
    """An ELU, if `elu_alpha` is given, and a transposed convolution from N to N * stride rows.

    The kernel is 2 * stride. Before trimming, this is a plain convolution over pairs of rows, from one
    row before the first to one after the last, which makes `stride` rows of each pair. `weight` is
    [2, in, stride, out], with the older row of a pair first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        causal: bool = True,
        trim_right_ratio: float = 1.0,
        group_norm: bool = False,
        elu_alpha: float | None = None,
    ) -> None:
        super().__init__()
        self.elu_alpha = elu_alpha
        self.weight = nn.Parameter(torch.empty(2, in_channels, stride, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.norm = nn.GroupNorm(1, out_channels) if group_norm else None
        self.trim_right = math.ceil(stride * trim_right_ratio) if causal else stride // 2
        self.trim_left = stride - self.trim_right
        self.padding = Padding(span=2, stride=1, left=1, right=1)
        _initialize(self.weight, self.bias, 2 * stride * out_channels)

    def initial_state(self, batch_size: int) -> ConvState:
        """Return a state without rows."""
        return ConvState(self.weight.new_zeros(batch_size, 0, self.weight.shape[1]))

    def forward(self, rows: Tensor, state: ConvState | None = None, last: bool = True) -> Tensor:
        """[B, N, in] -> [B, N * stride, out]; with a state, the rows that this block completes."""
        state = state or self.initial_state(rows.shape[0])
        trim_left = 0 if state.started else self.trim_left
        padded = self.padding.next(activated(state.rows, rows, self.elu_alpha, self._is_fast(rows)), state, last)
        _, _, stride, out_channels = self.weight.shape
        out = products(padded, self.weight.flatten(2), self.bias.expand(stride, -1).flatten())
        out = _normalized(out.unflatten(2, (stride, out_channels)).flatten(1, 2), self.norm)
        return out[:, trim_left : out.shape[1] - self.trim_right] if last else out[:, trim_left:]


def activated(before: Tensor, rows: Tensor, elu_alpha: float | None, is_fast: bool) -> Tensor:
    """Apply an ELU to `rows` if `elu_alpha` is given, and prepend the rows `before`."""
    n_before = before.shape[1]
    if elu_alpha == 1.0 and is_fast:
        # Written directly to the output, and twice as fast as F.elu; differs by one unit in the last place of 1.
        out = rows.new_empty(rows.shape[0], n_before + rows.shape[1], rows.shape[2])
        out[:, :n_before] = before
        fresh = out[:, n_before:]
        torch.clamp_max(rows, 0.0, out=fresh).exp_().sub_(1.0)
        torch.maximum(rows, fresh, out=fresh)
        return out
    rows = rows if elu_alpha is None else F.elu(rows, elu_alpha)
    return torch.cat([before, rows], dim=1) if n_before else rows


def products(rows: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Compute a convolution as matrix products over shifted views of the rows, without copies.

    Shapes: rows [B, N, I], weight [kernel, I, O] -> [B, T, O] without padding. Each product covers
    `stride` taps, as many as there are rows between two windows.
    """
    batch_size, n_rows, n_in = rows.shape
    kernel_size, _, n_out = weight.shape
    n_windows = max(0, (n_rows - (kernel_size - 1) * dilation - 1) // stride + 1)
    if n_windows == 0:
        return rows.new_zeros(batch_size, 0, n_out)
    if kernel_size * n_in <= FEW or kernel_size % stride:
        windows = rows.unfold(1, (kernel_size - 1) * dilation + 1, stride)[..., ::dilation].transpose(2, 3)
        out = affine(windows.reshape(-1, kernel_size * n_in), weight.flatten(0, 1), bias)
        return out.view(batch_size, n_windows, n_out)
    if kernel_size * n_out <= FEW and stride == dilation == 1:
        # First all taps of each row, then the sums along the windows' diagonals.
        taps = (rows @ weight.transpose(0, 1).flatten(1)).unflatten(2, (kernel_size, n_out))
        return taps.unfold(1, kernel_size, 1).diagonal(dim1=2, dim2=4).sum(-1) + bias
    for tap in range(0, kernel_size, stride):
        views = rows[:, tap * dilation :][:, : n_windows * stride].reshape(-1, stride * n_in)
        factors = views, weight[tap : tap + stride].flatten(0, 1)
        out = affine_onto(out, *factors) if tap else affine(*factors, bias)
    return out.view(batch_size, n_windows, n_out)


def _normalized(rows: Tensor, norm: nn.GroupNorm | None) -> Tensor:
    return rows if norm is None else norm(rows.transpose(1, 2).contiguous()).transpose(1, 2)


def _initialize(weight: Tensor, bias: Tensor, fan_in: int) -> None:
    """Initialize like PyTorch's own convolutions."""
    for parameter in (weight, bias):
        nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)
