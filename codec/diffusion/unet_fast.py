"""Run the diffusion network for inference on a CPU: on time steps as rows, block by block, in place.

As in ..modules.conv, a signal is a matrix [n, W] with one row per time step, and a convolution
is a sum of matrix products over shifted views of it. A norm needs the statistics of all rows
before its first output, so each norm takes one pass over its level: a block is normalized into a
scratch buffer that stays in the cache, multiplied, and the product's statistics are measured for
the next norm. Each level has one buffer, which is also its skip connection. All levels share one
buffer for the values between the two convolutions of a block. unet.py is the reference
implementation: equal values except for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ..modules.matmul import affine, matmul

if TYPE_CHECKING:
    from .unet import DiffusionUnet, ResBlock

LEAST_NUMBERS = 1 << 17  # smallest outermost level: below it, the overhead is larger than the gain
BLOCK = 1 << 20  # numbers processed at a time: few enough for the cache, many enough to outweigh the overhead per block
LEAST_ROWS = 512  # fewest rows of a block, for any width: each product lays out its weights again
FOLD, FOLDED_ROWS = 32, 64  # up to 32 rows are measured as one wide row, which makes the float32 sums that much shorter
Bottleneck = Callable[[Tensor], Tensor | None]  # rows [L, W] of the deepest level -> values to add to them


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


IN_PLACE = _is_intel()  # on other CPUs, MKL's in-place accumulation is slower than oneDNN followed by an addition


def suits(unet: DiffusionUnet, x: Tensor) -> bool:
    """Return True if `noise` supports this network and x [B, C, N] (no gradients, no dropout), and is faster."""
    config = unet.config
    if x.dtype != torch.float32 or x.device.type != "cpu" or torch.is_grad_enabled() or unet.training:
        return False
    if len(x) == 0 or x.shape[-1] // config.stride * config.hidden < LEAST_NUMBERS or (config.kernel_size - config.stride) % 2:
        return False
    layers: list[Any] = [*unet.encoders, *unet.decoders]
    norms = [layer.norm for layer in layers]
    norms += [norm for layer in layers for block in layer.res_blocks for norm in (block.norm1, block.norm2)]
    return all(type(norm) is nn.GroupNorm for norm in norms)


def noise(unet: DiffusionUnet, x: Tensor, embeddings: list[Tensor | None], bottleneck: Bottleneck) -> Tensor:
    """Predict the noise in one signal [C, N] -> [C, N]; `embeddings` holds the time embedding [W] of each level."""
    config = unet.config
    pad = (config.kernel_size - config.stride) // 2
    below = Rows(x.shape[1], x.shape[0], pad, config.stride)
    below.rows.copy_(x.t())
    levels, worker = [below], _Worker()
    for encoder, embedding in zip(unet.encoders, embeddings, strict=True):
        levels.append(worker.down(encoder, levels[-1], embedding))
    deepest = levels[-1]
    found = bottleneck(deepest.rows)
    if found is not None:
        deepest.rows.add_(found)
    for i, j in deepest.blocks():
        deepest.measure(i, j)
    below.rows.zero_()  # the signal itself is not a skip connection
    for decoder in unet.decoders:
        above = levels.pop()
        worker.up(decoder, above, levels[-1], is_last=len(levels) == 1)
    return below.rows.t()


class Rows:
    """The time steps [n, W] of one level as rows, and the moments of blocks of them.

    The rows are padded at both ends: with zeros for the downward convolution, and with room for
    the output of the upward convolution beyond the ends.
    """

    def __init__(self, n: int, width: int, pad: int = 0, stride: int = 1, memory: Tensor | None = None) -> None:
        after = -n % stride + pad
        size = pad + n + after
        self.all = torch.empty(size, width) if memory is None else memory[: size * width].view(size, width)
        self.rows = self.all[pad : pad + n]
        self.all[:pad], self.all[pad + n :] = 0, 0
        self._moments: list[np.ndarray] = []  # means and variances of parts, each [2, parts, W]
        self._counts: list[int] = []  # rows of each part

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, least: int = LEAST_ROWS) -> Iterator[tuple[int, int]]:
        """Return the range of rows [first, last) of each block."""
        size = max(least, BLOCK // self.rows.shape[1])
        return ((i, min(i + size, len(self))) for i in range(0, len(self), size))

    def windows(self, first: int, n: int, stride: int, taps: int) -> Tensor:
        """Return a view [n, taps * W]: n windows of `taps` rows, `stride` rows apart, starting at padded row `first`."""
        width = self.rows.shape[1]
        return self.all.as_strided((n, taps * width), (stride * width, 1), self.all.storage_offset() + first * width)

    def measure(self, first: int, last: int) -> None:
        """Measure the moments of rows that will not change before they are normalized."""
        most = max(1, min(FOLD, (last - first) // FOLDED_ROWS))
        whole = first + (last - first) // most * most
        for start, stop, fold in ((first, whole, most), (whole, last, 1)):
            if start < stop:
                signal = self.rows[start:stop].reshape(-1, fold * self.rows.shape[1]).t()[None, :, :, None]
                found = torch.batch_norm_update_stats(signal, None, None, 0.0)
                self._moments.append(torch.stack(found).view(2, fold, -1).numpy())
                self._counts += [(stop - start) // fold] * fold

    def normalization(self, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Return the gains and offsets [W] of a norm over all rows, from the measured moments, which are then cleared."""
        shares = np.array(self._counts)[:, None, None] / len(self)
        moments = np.concatenate(self._moments, axis=1).astype(np.float64)  # [2, parts, W]
        means, variances = moments.reshape(2, len(shares), norm.num_groups, -1)
        self._moments, self._counts = [], []
        per_group = means.shape[2]
        mean = (means * shares).sum(axis=(0, 2)) / per_group
        variance = ((variances + (means - mean[:, None]) ** 2) * shares).sum(axis=(0, 2)) / per_group
        gains = norm.weight.numpy() * np.repeat(1 / np.sqrt(variance + norm.eps), per_group)
        offsets = norm.bias.numpy() - np.repeat(mean, per_group) * gains
        return torch.from_numpy(gains.astype(np.float32)), torch.from_numpy(offsets.astype(np.float32))


class _Worker:
    """Runs layers over rows, and owns their shared memory."""

    def __init__(self) -> None:
        self._inner = torch.empty(0)
        self._scratches = [torch.empty(0)] * 2

    def down(self, encoder: Any, below: Rows, embedding: Tensor | None) -> Rows:
        """Run an encoder layer, then add the time embedding."""
        stride, weight = encoder.conv.stride[0], _laid_out(encoder.conv.weight, (2, 1, 0))  # [kernel, I, O]
        n, kernel_size, pad = len(below), len(weight), encoder.conv.padding[0]
        n_out = (n + -n % stride + 2 * pad - kernel_size) // stride + 1
        out = Rows(n_out, weight.shape[2], pad, stride)
        for i, j in out.blocks():
            for tap in range(0, kernel_size, stride):
                taps = weight[tap : tap + stride]
                views = below.windows(i * stride + tap, j - i, stride, len(taps))
                _multiply(views, taps.flatten(0, 1), out.rows[i:j], is_first=tap == 0)
            out.measure(i, j)
        gains, offsets = out.normalization(encoder.norm)
        for i, j in out.blocks():
            torch.addcmul(offsets, out.rows[i:j], gains, out=out.rows[i:j]).relu_()
            if len(encoder.res_blocks):
                out.measure(i, j)
        self._residuals(encoder.res_blocks, out, embedding, is_measured=False)
        return out

    def up(self, decoder: Any, above: Rows, target: Rows, is_last: bool) -> None:
        """Run a decoder layer: `above` (overwritten) is added onto `target`, which is measured unless it is the last."""
        self._residuals(decoder.res_blocks, above, None, is_measured=True)
        stride, pad = decoder.convtr.stride[0], decoder.convtr.padding[0]
        weight = _laid_out(decoder.convtr.weight, (0, 2, 1))  # [I, kernel, O]
        kernel_size, gains, done = weight.shape[1], above.normalization(decoder.norm), 0
        for i, j in above.blocks():
            views = self._normalized(above, gains, i, j)
            for tap in range(0, kernel_size, stride):
                taps = weight[:, tap : tap + stride]
                _multiply(views, taps.flatten(1), target.windows(i * stride + tap, j - i, stride, taps.shape[1]))
            ready = len(target) if j == len(above) else max(done, min(j * stride - pad, len(target)))
            if not is_last:
                target.measure(done, ready)
            done = ready

    def _residuals(self, blocks: Any, rows: Rows, embedding: Tensor | None, is_measured: bool) -> None:
        """Run residual blocks in place on measured rows; with `is_measured`, the results are measured too."""
        for index, block in enumerate(blocks):
            is_last = index == len(blocks) - 1
            bias = block.conv2.bias if embedding is None or not is_last else block.conv2.bias + embedding
            self._residual(block, rows, bias, is_measured or not is_last)
        if embedding is not None and not len(blocks):
            rows.rows.add_(embedding)

    def _residual(self, block: ResBlock, rows: Rows, last_bias: Tensor, is_measured: bool) -> None:
        if self._inner.numel() < rows.rows.numel():
            self._inner = torch.empty(rows.rows.numel())
        inner = Rows(len(rows), rows.rows.shape[1], memory=self._inner)
        least = max(LEAST_ROWS, 4 * block.conv1.dilation[0])
        gains = rows.normalization(block.norm1)
        for i, j in rows.blocks(least):
            self._convolved(block.conv1, rows, gains, (i, j), block.conv1.bias, inner.rows[i:j])
            inner.measure(i, j)
        gains = inner.normalization(block.norm2)
        for i, j in rows.blocks(least):
            out = self._scratch(1, j - i, rows.rows.shape[1])
            rows.rows[i:j].add_(self._convolved(block.conv2, inner, gains, (i, j), last_bias, out))
            if is_measured:
                rows.measure(i, j)

    def _convolved(
        self, conv: nn.Conv1d, rows: Rows, gains: tuple[Tensor, Tensor], span: tuple[int, int], bias: Tensor | None, out: Tensor
    ) -> Tensor:
        """Convolve normalized rows, for the rows of a span."""
        (i, j), (dilation,) = span, conv.dilation
        views = self._normalized(rows, gains, i - dilation, j + dilation)
        for tap, factors in enumerate(_laid_out(conv.weight, (2, 1, 0))):
            _multiply(views[tap * dilation :][: j - i], factors, out, is_first=tap == 0, bias=bias)
        return out

    def _normalized(self, rows: Rows, gains: tuple[Tensor, Tensor], first: int, last: int) -> Tensor:
        """Return rows [first, last) after a norm and a ReLU, with zeros for rows beyond the ends."""
        start, stop = max(0, first), min(last, len(rows))
        out = self._scratch(0, last - first, rows.rows.shape[1])
        out[: start - first], out[stop - first :] = 0, 0
        torch.addcmul(gains[1], rows.rows[start:stop], gains[0], out=out[start - first : stop - first]).relu_()
        return out

    def _scratch(self, index: int, n: int, width: int) -> Tensor:
        if self._scratches[index].numel() < n * width:
            self._scratches[index] = torch.empty(n * width)
        return self._scratches[index][: n * width].view(n, width)


def _multiply(x: Tensor, weight: Tensor, out: Tensor, is_first: bool = False, bias: Tensor | None = None) -> None:
    """Write bias + x @ weight to `out` if `is_first`, else add x @ weight: [n, I], [I, O] -> [n, O]."""
    if is_first and bias is not None:
        torch.addmm(bias, x, weight, out=out) if IN_PLACE else out.copy_(affine(x, weight, bias))
    elif is_first:
        torch.mm(x, weight, out=out) if IN_PLACE else out.copy_(matmul(x, weight))
    elif IN_PLACE:
        out.addmm_(x, weight)
    else:
        out.add_(matmul(x, weight))


def _laid_out(parameter: Tensor, order: tuple[int, int, int]) -> Tensor:
    """Return a contiguous weight with permuted axes. The parameter's memory is rearranged once, so it takes no extra memory."""
    view = parameter.detach().permute(order)
    if not view.is_contiguous():
        inverse = [order.index(axis) for axis in range(3)]
        parameter.data = view.contiguous().permute(inverse)
        view = parameter.detach().permute(order)
    return view
