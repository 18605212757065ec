"""Depthwise convolution over time for training, in one pass per direction; torch's kernels copy and transpose."""

from __future__ import annotations

import numba
import torch
from torch import Tensor


class DepthwiseConvolution(torch.autograd.Function):
    """padded [B, kernel - 1 + T, W], weight [W, kernel], bias [W] -> [B, T, W], all float32 on the CPU."""

    @staticmethod
    def forward(ctx, padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padded, taps = padded.contiguous(), weight.t().contiguous()  # [kernel, W]
        out = padded.new_empty(padded.shape[0], padded.shape[1] - len(taps) + 1, padded.shape[2])
        _forward(padded.detach().numpy(), taps.detach().numpy(), bias.detach().numpy(), out.numpy())
        ctx.save_for_backward(padded, taps)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        padded, taps = ctx.saved_tensors
        gradient = gradient.float().contiguous()
        d_padded, d_taps, d_bias = torch.zeros_like(padded), torch.zeros_like(taps), torch.zeros_like(taps[0])
        _backward(*(x.detach().numpy() for x in (padded, taps, gradient, d_padded, d_taps, d_bias)))
        return d_padded, d_taps.t(), d_bias


@numba.njit(cache=True, fastmath=True)
def _forward(padded, taps, bias, out):
    n_items, n_frames, width = out.shape
    for b in range(n_items):
        for t in range(n_frames):
            out[b, t] = bias
            for i in range(len(taps)):
                for w in range(width):
                    out[b, t, w] += padded[b, t + i, w] * taps[i, w]


@numba.njit(cache=True, fastmath=True)
def _backward(padded, taps, gradient, d_padded, d_taps, d_bias):
    n_items, n_frames, width = gradient.shape
    for b in range(n_items):
        for t in range(n_frames):
            for w in range(width):
                d_bias[w] += gradient[b, t, w]
            for i in range(len(taps)):
                for w in range(width):
                    d_padded[b, t + i, w] += gradient[b, t, w] * taps[i, w]
                    d_taps[i, w] += gradient[b, t, w] * padded[b, t + i, w]


class TapByTap(torch.autograd.Function):
    """The same on any device, with one multiplication of the whole signal per tap."""

    @staticmethod
    def forward(ctx, padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        taps = weight.t().contiguous()  # [kernel, W]
        n_frames = padded.shape[1] - len(taps) + 1
        out = torch.addcmul(bias, padded[:, :n_frames], taps[0])
        for i in range(1, len(taps)):
            out.addcmul_(padded[:, i : i + n_frames], taps[i])
        ctx.save_for_backward(padded, taps)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        padded, taps = ctx.saved_tensors
        gradient, n_frames = gradient.float().contiguous(), gradient.shape[1]
        d_padded, d_taps = torch.zeros_like(padded), []
        for i in range(len(taps)):
            d_padded[:, i : i + n_frames].addcmul_(gradient, taps[i])
            d_taps.append((gradient * padded[:, i : i + n_frames]).sum((0, 1)))
        return d_padded, torch.stack(d_taps, 1), gradient.sum((0, 1))
