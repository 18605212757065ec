"""Causal ConvNeXt blocks at frame rate (Liu et al. 2022, one-dimensional as in Vocos)."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .matmul import linear


class CausalBlock(nn.Module):
    """Depthwise causal convolution, then a two-layer perceptron per frame, added to the input.

    Works on [B, T, W] (frames before channels), because nine tenths of the work are matrix products
    over W.
    """

    def __init__(self, width: int, expand: int = 3, kernel_size: int = 7, scale: float = 0.1) -> None:
        super().__init__()
        self.n_past = kernel_size - 1  # frames
        self.depthwise = nn.Conv1d(width, width, kernel_size, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes: x [B, T, W], past [B, n_past, W] -> (y [B, T, W], the next call's past)."""
        padded = torch.cat([past, x], dim=1)
        h = self._convolve(padded)
        h = linear(F.gelu(linear(self.norm(h), self.up)), self.down)
        return x + h * self.scale, padded[:, x.shape[1] :]

    def _convolve(self, padded: Tensor) -> Tensor:
        """Depthwise convolution [B, n_past + T, W] -> [B, T, W]."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._convolve_in_training(padded)
        # One multiply-add per tap: torch's kernel is slow in float64, and its order of additions depends
        # on the length, so codes would depend on the block size.
        taps = self.depthwise.weight[:, 0].t().contiguous()  # [kernel, W]
        n_frames = padded.shape[1] - self.n_past
        assert self.depthwise.bias is not None
        h = self.depthwise.bias + padded[:, :n_frames] * taps[0]
        for i in range(1, len(taps)):
            h.addcmul_(padded[:, i : i + n_frames], taps[i])
        return h

    def _convolve_in_training(self, padded: Tensor) -> Tensor:
        """The same with gradients."""
        if self.training and padded.device.type == "cpu" and padded.dtype == torch.float32:
            from .depthwise import DepthwiseConvolution  # compiled at first use; inference does not need it

            found: Tensor = DepthwiseConvolution.apply(padded, self.depthwise.weight[:, 0], self.depthwise.bias)
            return found
        if self.training and padded.device.type == "cuda":
            from .depthwise import TapByTap

            taken: Tensor = TapByTap.apply(padded.float(), self.depthwise.weight[:, 0], self.depthwise.bias)
            return taken
        return self.depthwise(padded.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class CausalStack(nn.Module):
    """Blocks in sequence; their left context is carried from call to call.

    With `bfloat16_blocks` (set by training) they compute in bfloat16 in training mode. Filterbanks
    outside the stack never do.
    """

    def __init__(self, width: int, depth: int, expand: int, kernel_size: int) -> None:
        super().__init__()
        self.width, self.bfloat16_blocks = width, False
        self.n_past = kernel_size - 1  # frames, per block
        self.blocks = nn.ModuleList(CausalBlock(width, expand, kernel_size) for _ in range(depth))

    @property
    def computes_in_bfloat16(self) -> bool:
        """Whether the blocks currently compute in bfloat16."""
        return self.bfloat16_blocks and self.training

    def initial_past(self, batch_size: int) -> list[Tensor]:
        """Return the past before the first frame, silence: one [B, n_past, W] per block."""
        weight = next(self.parameters())
        return [weight.new_zeros(batch_size, self.n_past, self.width) for _ in self.blocks]

    def forward(self, x: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Shapes: x [B, T, W] -> (y [B, T, W], the next call's pasts). T may be 0."""
        if x.shape[1] == 0:
            return x, past
        new_past = []
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.computes_in_bfloat16):
            for block, before in zip(self.blocks, past, strict=True):
                x, after = block(x, before)
                new_past.append(after)
        return x, new_past
