"""Fixed filterbanks: the strided first and last layers of codecs that work at frame rate.

Frame t covers the samples [t*hop, (t+1)*hop). The MDCT window (2 hops) extends half a hop beyond
each side of its frame, so that windows tile and their overlap-add reconstructs the signal
(Princen-Bradley); see `overlap_add` for the two ends.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_window(hop: int) -> Tensor:
    """Return the MDCT window [2*hop], float64: its square plus its square shifted by hop is one."""
    return torch.sin(math.pi / (2 * hop) * (torch.arange(2 * hop, dtype=torch.float64) + 0.5))


def mdct_basis(hop: int) -> Tensor:
    """Return the windowed cosine basis [hop, 2*hop], float64, orthonormal across overlapping frames.

    Row k holds cos(pi/hop * (n + 1/2 + hop/2) * (k + 1/2)) under a sine window
    (Princen, Johnson and Bradley 1987), scaled by sqrt(2/hop).
    """
    n = torch.arange(2 * hop, dtype=torch.float64)
    k = torch.arange(hop, dtype=torch.float64)[:, None]
    return torch.cos(math.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5)) * sine_window(hop) * math.sqrt(2 / hop)


def fine_basis(hop: int, n_blocks: int) -> Tensor:
    """Return the bases of `n_blocks` consecutive short blocks within one frame of the long basis: [hop, 2*hop], float64.

    Row j*short + k is bin k of block j, with short = hop / n_blocks. The blocks tile the frame's own hop, in the middle of its
    window, and overlap with those of the neighbouring frames.
    """
    short = hop // n_blocks
    basis = torch.zeros(n_blocks, short, 2 * hop, dtype=torch.float64)
    for j in range(n_blocks):
        start = hop // 2 - short // 2 + j * short
        basis[j, :, start : start + 2 * short] = mdct_basis(short)
    return basis.flatten(0, 1)


def overlap_add(frames: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap-add frames of 2*hop samples at a distance of hop.

    Shapes: frames [B, T, 2*hop], tail [B, hop] (second half of the previous frame)
    -> (finished samples [B, T*hop], the new tail [B, hop]).
    """
    hop = tail.shape[-1]
    first, second = frames[..., :hop], frames[..., hop:]
    shifted = torch.cat([tail[:, None], second[:, :-1]], dim=1)  # [B, T, hop]
    return (first + shifted).flatten(1), second[:, -1]
