"""Train the integer prior (entropy model) of ecdc.format.entropy.prior: the same arithmetic, with gradients.

Weights and activations are rounded before every product; gradients pass as if they were not (Bengio et al. 2013, the
straight-through estimator). All sums are integers below 2**24, which float32 holds exactly, so training computes the same
values as the integer kernels.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ...format.entropy.prior import Prior
from ...format.entropy.prior_scales import EMBEDDING_SHIFT, LARGEST, LIMIT, SHIFT

WEIGHT_SCALE = 64  # integer weight = WEIGHT_SCALE * parameter
SUM_SCALE = 1024  # scale of integer sums: WEIGHT_SCALE times 16, the scale of activations
RESOLUTION = 32  # entries per nat in the table of exponentials
TABLE_NATS = 16
DILATIONS = (1, 2, 4, 8, 16, 32, 64)


class _Round(torch.autograd.Function):
    """Round half up; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


def _round(x: Tensor) -> Tensor:
    return _Round.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def _weights(x: Tensor) -> Tensor:
    return _round(x * WEIGHT_SCALE).clamp(-LARGEST, LARGEST)


def _bias(x: Tensor) -> Tensor:
    return _round(x * SUM_SCALE).clamp(-LIMIT, LIMIT)


def _activation(sums: Tensor, low: int) -> Tensor:
    return _round(sums / (1 << SHIFT)).clamp(low, LARGEST)


class TrainedPrior(nn.Module):
    """The prior in training; parameters are the integers divided by WEIGHT_SCALE, or by SUM_SCALE for biases."""

    def __init__(self, n_codebooks: int, codebook_size: int, width: int = 128, dilations: Sequence[int] = DILATIONS) -> None:
        super().__init__()
        self.dilations, n_layers = tuple(dilations), len(dilations)

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(*shape))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        inner = 1 / math.sqrt(width)
        self.frame_embedding = normal(n_codebooks, codebook_size, width, scale=0.3)
        self.mix_now = normal(n_layers, width, width, scale=inner)
        self.mix_past = normal(n_layers, width, width, scale=inner)
        self.mix_bias = zeros(n_layers, width)
        self.out_weight = normal(n_layers, width, width, scale=inner)
        self.out_bias = zeros(n_layers, width)
        self.book_embedding = normal(n_codebooks, codebook_size, width, scale=0.3)
        self.head_mix = normal(n_codebooks, width, width, scale=1.4 * inner)
        self.head_mix_bias = zeros(n_codebooks, width)
        self.head_weight = normal(n_codebooks, width, codebook_size, scale=0.1 * inner)
        self.head_bias = zeros(n_codebooks, codebook_size)

    def contexts(self, codes: Tensor) -> Tensor:
        """Return the context of each frame from the frames before it: codes [B, K, T] -> sums [B, T, H]."""
        batch_size, _, n_frames = codes.shape
        h = torch.zeros(batch_size, n_frames, self.mix_now.shape[1])
        if n_frames > 1:
            h = nn.functional.pad(self._embedded(self.frame_embedding, codes[..., :-1]), (0, 0, 1, 0))
        for i, dilation in enumerate(self.dilations):
            a = _activation(h, -LARGEST)
            past = nn.functional.pad(a, (0, 0, dilation, 0))[:, :n_frames]
            hidden = torch.cat([a, past], dim=2) @ torch.cat([_weights(self.mix_now[i]), _weights(self.mix_past[i])])
            active = _activation(hidden + _bias(self.mix_bias[i]), 0)
            h = (h + active @ _weights(self.out_weight[i]) + _bias(self.out_bias[i])).clamp(-LIMIT, LIMIT)
        return h

    def logits(self, contexts: Tensor, codes: Tensor, book: int) -> Tensor:
        """Return one codebook's logits, integers with SUM_SCALE per nat: contexts [B, T, H], codes [B, K, T] -> [B, T, V]."""
        u = contexts
        if book:
            u = u + self._embedded(self.book_embedding, codes[:, :book])
        hidden = _activation(u, -LARGEST) @ _weights(self.head_mix[book]) + _bias(self.head_mix_bias[book])
        return _activation(hidden, 0) @ _weights(self.head_weight[book]) + _bias(self.head_bias[book])

    def loss(self, codes: Tensor, books: Sequence[int]) -> Tensor:
        """Return the nats per code of each of `books` [n], over codes [B, K, T]."""
        contexts = self.contexts(codes)
        terms = []
        for book in books:
            logits = self.logits(contexts, codes, book) / SUM_SCALE
            terms.append(nn.functional.cross_entropy(logits.flatten(0, 1), codes[:, book].flatten()))
        return torch.stack(terms)

    def _embedded(self, tables: Tensor, codes: Tensor) -> Tensor:
        """Return the sum of the embeddings of codes [B, k, T]: [B, T, H], at the scale of sums."""
        total = torch.zeros(())
        for table, row in zip(tables, codes.unbind(1), strict=False):
            total = total + _weights(nn.functional.embedding(row, table))
        return total * (1 << EMBEDDING_SHIFT)

    @torch.no_grad()
    def export(self, token_space: bytes) -> Prior:
        """Return the prior in integers."""
        arrays: dict[str, np.ndarray] = {"dilations": np.array(self.dilations, np.int32), "table": exponentials()}
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                arrays[name] = _bias(parameter).numpy().astype(np.int32)
            else:
                arrays[name] = _weights(parameter).numpy().astype(np.int8)
        return Prior(arrays, token_space)


def exponentials() -> np.ndarray:
    """Return 2**16 exp(-i / RESOLUTION), rounded. Decimal arithmetic gives the same digits on every machine."""
    context = decimal.Context(prec=40)
    scaled = (context.exp(decimal.Decimal(-i) / RESOLUTION) * (1 << 16) for i in range(TABLE_NATS * RESOLUTION))
    return np.array([int(x.to_integral_value(decimal.ROUND_HALF_UP)) for x in scaled], np.int32)
