"""The bottleneck of a diffusion network: a transformer or a bidirectional LSTM over its time steps."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .config import N_HEADS

N_LAYERS = 6
INNER = 2048  # width of the feed-forward part, for any outer width
PERIOD = 10_000.0  # in steps, of the slowest position signal


def with_positions(rows: Tensor) -> Tensor:
    """Add position signals to rows [B, T, W]: cosines, then sines, with rates from 1 down to 1/PERIOD (inclusive)."""
    _, n_rows, width = rows.shape
    half = width // 2
    rates = PERIOD ** (torch.arange(half, device=rows.device, dtype=rows.dtype) / (half - 1))
    phase = torch.arange(n_rows, device=rows.device, dtype=rows.dtype)[:, None] / rates
    return rows + torch.cat([phase.cos(), phase.sin()], dim=-1)


class Attention(nn.Module):
    """Multi-head attention without biases. `mha` adds a level to parameter names, as in the published ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(width, N_HEADS, bias=False, batch_first=True)

    def forward(self, rows: Tensor, source: Tensor) -> Tensor:
        """Rows [B, T, W] attend to source [B, S, W] -> [B, T, W]."""
        found: Tensor = self.mha(rows, source, source, need_weights=False)[0]
        return found


class TransformerLayer(nn.Module):
    """Self-attention, optional cross-attention to the condition, and a feed-forward part, each followed by a norm."""

    def __init__(self, width: int, cross_attention: bool) -> None:
        super().__init__()
        self.self_attn = Attention(width)
        self.linear1 = nn.Linear(width, INNER, bias=False)
        self.linear2 = nn.Linear(INNER, width, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        if cross_attention:
            self.cross_attention, self.norm_cross = Attention(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, rows: Tensor, source: Tensor | None) -> Tensor:
        before, rows = rows, self.norm1(rows + self.dropout(self.self_attn(rows, rows)))
        if source is not None:
            # As published, the queries of cross-attention are the layer's input, not the output of self-attention.
            rows = self.norm_cross(rows + self.dropout(self.cross_attention(before, source)))
        inner = self.linear2(self.dropout(F.relu(self.linear1(rows))))
        found: Tensor = self.norm2(rows + self.dropout(inner))
        return found


class Transformer(nn.Module):
    """Time steps [B, T, W] and attended condition [B, S, W] -> [B, T, W]; every step sees all others."""

    def __init__(self, width: int, cross_attention: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(width, cross_attention) for _ in range(N_LAYERS))

    def forward(self, rows: Tensor, source: Tensor | None) -> Tensor:
        rows = with_positions(rows)
        for layer in self.layers:
            rows = layer(rows, source)
        return rows


class BiLstm(nn.Module):
    """Two bidirectional LSTM layers, projected back to the input's width: [B, W, T] -> [B, W, T]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, 2, bidirectional=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.lstm(x.permute(2, 0, 1))
        out: Tensor = self.linear(rows).permute(1, 2, 0)
        return out
