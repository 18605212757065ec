"""The decoder: pre-norm layers of self-attention, cross-attention to conditions, and a feed-forward part.

Keys and values of past steps are in buffers of the final length, and those of the conditions
are computed once, so each step takes one pass over the weights.
"""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention

from .linear import Linear


class Cache:
    """Keys and values of one layer's past steps, each [R, H, capacity, d], filled from the left."""

    def __init__(self, shape: tuple[int, int, int, int], like: Tensor) -> None:
        # Untouched pages of an empty tensor use no memory, so a large capacity is free.
        self.keys, self.values = like.new_empty(shape), like.new_empty(shape)

    def append(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Store [R, H, S, d] from column `start` on; returns all columns up to the new end."""
        stop = start + keys.shape[2]
        self.keys[:, :, start:stop] = keys
        self.values[:, :, start:stop] = values
        return self.keys[:, :, :stop], self.values[:, :, :stop]


class SelfAttention(nn.Module):
    """Causal attention over the steps so far."""

    def __init__(self, dimension: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = Linear(dimension, 3 * dimension)
        self.out = Linear(dimension, dimension)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None, start: int, turns: Tensor | None) -> Tensor:
        """[R, S, D] -> [R, S, D]. `mask` bool [R or 1, 1, S, n] says what each step sees; None: all steps before it.

        `turns` [R or 1, S, d] are the rotations of the steps for `turned`, or None.
        """
        n_rows, n_steps, _ = x.shape
        q, k, v = self.qkv(x).view(n_rows, n_steps, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # [R, H, S, d]
        if turns is not None:
            q, k = turned(q, turns[:, None]), turned(k, turns[:, None])
        if cache is not None:
            k, v = cache.append(k, v, start)
        # A single new step sees all columns; is_causal is for several steps without a past.
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and n_steps > 1)
        return self.out(out.transpose(1, 2).reshape(n_rows, n_steps, -1))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention to the conditions."""

    def __init__(self, dimension: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = Linear(dimension, dimension)
        self.kv = Linear(dimension, 2 * dimension)
        self.out = Linear(dimension, dimension)

    def prepare(self, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values [R, H, L, d] of conditions [R, L, D]."""
        n_rows, length, _ = conditions.shape
        k, v = self.kv(conditions).view(n_rows, length, 2, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        return k.contiguous(), v.contiguous()

    def forward(self, x: Tensor, prepared: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """[R, S, D] -> [R, S, D]; `mask` bool [R, 1, 1, L] excludes padding."""
        n_rows, n_steps, _ = x.shape
        q = self.q(x).view(n_rows, n_steps, self.n_heads, -1).transpose(1, 2)
        out = scaled_dot_product_attention(q, *prepared, attn_mask=mask)
        return self.out(out.transpose(1, 2).reshape(n_rows, n_steps, -1))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Self-attention, optional cross-attention, feed-forward, each as x + f(norm(x))."""

    def __init__(self, dimension: int, n_heads: int, ff_dimension: int, cross_attention: bool) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(dimension)
        self.attention = SelfAttention(dimension, n_heads)
        self.norm_cross = nn.LayerNorm(dimension) if cross_attention else None
        self.cross = CrossAttention(dimension, n_heads) if cross_attention else None
        self.norm_ff = nn.LayerNorm(dimension)
        self.up = Linear(dimension, ff_dimension)
        self.down = Linear(ff_dimension, dimension)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        start: int = 0,
        prepared: tuple[Tensor, Tensor] | None = None,
        cross_mask: Tensor | None = None,
        turns: Tensor | None = None,
    ) -> Tensor:
        """[R, S, D] -> [R, S, D]; without `prepared` conditions the cross-attention is skipped."""
        x = x + self.attention(self.norm_self(x), mask, cache, start, turns)
        if prepared is not None and self.cross is not None and self.norm_cross is not None:
            x = x + self.cross(self.norm_cross(x), prepared, cross_mask)
        return x + self.down(gelu(self.up(self.norm_ff(x))))  # type: ignore[no-any-return]


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate each pair x[i], x[i + d / 2] of [..., S, d] by the angle of its step (arXiv 2104.09864).

    `turns` [..., S, d] holds cosines, then sines, as `sinusoids` returns them. Products of two
    rotated vectors depend on the distance between their steps, not on their positions.
    """
    (a, b), (cos, sin) = x.chunk(2, dim=-1), turns.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def sinusoids(n_positions: int, dimension: int) -> Tensor:
    """Return positions [n, D], float32: cosines, then sines, of position / 10000^(j / (D/2 - 1)).

    Rounded once, at the end. The original and transformers round in between, each in its own order,
    and differ by 1e-4 at 30 s; these values lie between theirs.
    """
    half = dimension // 2
    periods = 10_000 ** (torch.arange(half, dtype=torch.float64) / max(1, half - 1))
    phase = torch.arange(n_positions, dtype=torch.float64)[:, None] / periods
    return torch.cat([phase.cos(), phase.sin()], dim=1).float()
