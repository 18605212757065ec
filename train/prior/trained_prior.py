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
from ...format.errors import ArgumentError

WEIGHT_SCALE = 64  # integer weight = WEIGHT_SCALE * parameter
SUM_SCALE = 1024  # scale of integer sums: WEIGHT_SCALE times 16, the scale of activations
RESOLUTION = 32  # entries per nat in the table of exponentials
TABLE_NATS = 16
FRAME_STEP, BOOK_STEP, HEAD_STEP = 4, 8, 2  # of the integers in the tables
DILATIONS = (1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64)  # of the layers, in frames


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


def _weights(x: Tensor, step: int = 1) -> Tensor:
    """Return integer weights that are multiples of `step`."""
    return _round(x * (WEIGHT_SCALE / step)).clamp(-(LARGEST // step), LARGEST // step) * step


def _bias(x: Tensor) -> Tensor:
    return _round(x * SUM_SCALE).clamp(-LIMIT, LIMIT)


def _activation(sums: Tensor, low: int) -> Tensor:
    return _round(sums / (1 << SHIFT)).clamp(low, LARGEST)


class Tables(nn.Module):
    """Tables [K, V, H], one of each codebook: a projection of the codebook's entries, plus values of their own.

    Entries that are alike start with alike rows, so a rare code learns from its neighbours. The integers are multiples of
    `step`: fewer values of a table make a smaller compressed file.
    """

    def __init__(self, entries: Sequence[Tensor], width: int, scale: float, step: int) -> None:
        """`entries` [V, D] of each codebook, with vectors of about unit length; D = 0 if nothing is known about them."""
        super().__init__()
        self.entries, self.step = list(entries), step
        known = entries[0].shape[1] > 0
        self.own = nn.Parameter((0.0 if known else scale) * torch.randn(len(entries), len(entries[0]), width))
        starts = {size: scale * torch.randn(size, width) for size in sorted({e.shape[1] for e in entries})}
        self.projections = nn.ParameterList(starts[e.shape[1]].clone() for e in entries)

    def __getitem__(self, book: int) -> Tensor:
        """Return the table [V, H] of a codebook."""
        return self.own[book] + self.entries[book] @ self.projections[book]

    def rounded(self, rows: Tensor) -> Tensor:
        """Return rows of a table as integers."""
        return _weights(rows, self.step)

    def whole(self) -> Tensor:
        """Return the tables [K, V, H]."""
        return torch.stack([self[book] for book in range(len(self.own))])

    @torch.no_grad()
    def start_from(self, tables: Tensor) -> None:
        """Become `tables` [K, V, H]; the projections take as much of them as they can."""
        for book, (table, entries) in enumerate(zip(tables, self.entries, strict=True)):
            if entries.shape[1]:
                self.projections[book].copy_(torch.linalg.lstsq(entries, table).solution)
            self.own[book].copy_(table - entries @ self.projections[book])


class TrainedPrior(nn.Module):
    """The prior in training; parameters are the integers divided by WEIGHT_SCALE, or by SUM_SCALE for biases."""

    def __init__(self, entries: Sequence[Tensor], width: int = 128, dilations: Sequence[int] = DILATIONS) -> None:
        """`entries` as for Tables."""
        super().__init__()
        self.dilations, n_layers = tuple(dilations), len(dilations)
        n_codebooks, codebook_size = len(entries), len(entries[0])

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(*shape))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        inner = 1 / math.sqrt(width)
        self.frame_embedding = Tables(entries, width, 0.3, FRAME_STEP)
        self.mix_now = normal(n_layers, width, width, scale=inner)
        self.mix_past = normal(n_layers, width, width, scale=inner)
        self.mix_bias = zeros(n_layers, width)
        self.out_weight = normal(n_layers, width, width, scale=inner)
        self.out_bias = zeros(n_layers, width)
        self.book_embedding = Tables(entries, width, 0.3, BOOK_STEP)
        self.head_mix = normal(n_codebooks, width, width, scale=1.4 * inner)
        self.head_mix_bias = zeros(n_codebooks, width)
        self.head_weight = Tables(entries, width, 0.1 * inner, HEAD_STEP)
        self.head_bias = zeros(n_codebooks, codebook_size)

    def own_values(self) -> list[nn.Parameter]:
        """Return the values of tables that no projection gives, if there are projections; they learn more slowly."""
        tables = (self.frame_embedding, self.book_embedding, self.head_weight)
        return [t.own for t in tables] if self.frame_embedding.entries[0].shape[1] else []

    @torch.no_grad()
    def start_from_counts(self, codes: np.ndarray) -> None:
        """Let codes start as likely as they are in `codes` [n, K, T]."""
        size = self.head_bias.shape[1]
        counts = np.stack([np.bincount(codes[:, k].ravel(), minlength=size) for k in range(len(self.head_bias))]) + 1.0
        self.head_bias.copy_(torch.from_numpy(np.log(counts / counts.mean(1, keepdims=True))))

    @torch.no_grad()
    def start_from(self, prior: Prior) -> None:
        """Continue from a prior for as many codes. Layers and width that it lacks begin without effect.

        Raises ValueError if it has another number of codebooks or entries, a larger width, or layers that are missing here.
        """
        arrays = {name: torch.from_numpy(array) for name, array in prior.arrays.items()}
        size, wanted = tuple(arrays["frame_embedding"].shape), tuple(self.frame_embedding.own.shape)
        if size[:2] != wanted[:2] or size[2] > wanted[2]:
            raise ArgumentError(
                f"the prior has tables {list(size)} (codebooks, entries, width), this run {list(wanted)}; only the width may "
                "differ, and must not be smaller"
            )
        places = _places(arrays["dilations"].tolist(), self.dilations)
        for name, parameter in self.named_parameters(recurse=False):
            values = arrays[name].float() / (SUM_SCALE if name.endswith("bias") else WEIGHT_SCALE)
            if name.startswith(("mix_", "out_")):
                known = _widened(values, parameter[places])
                if name.startswith("out_"):
                    parameter.zero_()
                parameter[places] = known
            else:
                parameter.copy_(_widened(values, parameter))
        for name, tables in self.named_children():
            assert isinstance(tables, Tables)
            values, now = arrays[name].float() / WEIGHT_SCALE, tables.whole()
            if name == "head_weight":
                tables.start_from(_widened(values, now.transpose(1, 2)).transpose(1, 2))
            else:
                tables.start_from(torch.cat([values, now[..., size[2] :]], dim=2))

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
        return _activation(hidden, 0) @ self.head_weight.rounded(self.head_weight[book].T) + _bias(self.head_bias[book])

    def loss(self, codes: Tensor, books: Sequence[int]) -> Tensor:
        """Return the nats per code of each of `books` [n], over codes [B, K, T]."""
        contexts = self.contexts(codes)
        terms = []
        for book in books:
            logits = self.logits(contexts, codes, book) / SUM_SCALE
            terms.append(nn.functional.cross_entropy(logits.flatten(0, 1), codes[:, book].flatten()))
        return torch.stack(terms)

    def _embedded(self, tables: Tables, codes: Tensor) -> Tensor:
        """Return the sum of the embeddings of codes [B, k, T]: [B, T, H], at the scale of sums."""
        total = torch.zeros(())
        for book, row in enumerate(codes.unbind(1)):
            total = total + tables.rounded(nn.functional.embedding(row, tables[book]))
        return total * (1 << EMBEDDING_SHIFT)

    @torch.no_grad()
    def export(self, token_space: bytes) -> Prior:
        """Return the prior in integers."""
        arrays: dict[str, np.ndarray] = {"dilations": np.array(self.dilations, np.int32), "table": exponentials()}
        for name, parameter in self.named_parameters(recurse=False):
            rounded, dtype = (_bias(parameter), np.int32) if name.endswith("bias") else (_weights(parameter), np.int8)
            arrays[name] = rounded.numpy().astype(dtype)
        for name, tables in self.named_children():
            assert isinstance(tables, Tables)
            whole = tables.whole()
            arrays[name] = tables.rounded(whole.transpose(1, 2) if name == "head_weight" else whole).numpy().astype(np.int8)
        return Prior(arrays, token_space)


def _widened(values: Tensor, fresh: Tensor) -> Tensor:
    """Return biases [n, h] or matrices [n, in, out] in the larger shape of `fresh`; what a matrix adds reads no new inputs.

    New outputs keep their fresh weights for the old inputs, so that learning can begin.
    """
    result = fresh.clone()
    if values.dim() == 3:
        result[:, values.shape[1] :] = 0
        result[:, : values.shape[1], : values.shape[2]] = values
    else:
        result[:, : values.shape[1]] = values
    return result


def _places(found: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Return the places in `dilations` of the layers `found`, in order. Raises ValueError if there are none."""
    places, start = [], 0
    for dilation in found:
        if dilation not in dilations[start:]:
            raise ArgumentError(f"the prior has layers with dilations {list(found)}, which {list(dilations)} does not contain")
        places.append(dilations.index(dilation, start))
        start = places[-1] + 1
    return places


def exponentials() -> np.ndarray:
    """Return 2**16 exp(-i / RESOLUTION), rounded. Decimal arithmetic gives the same digits on every machine."""
    context = decimal.Context(prec=40)
    scaled = (context.exp(decimal.Decimal(-i) / RESOLUTION) * (1 << 16) for i in range(TABLE_NATS * RESOLUTION))
    return np.array([int(x.to_integral_value(decimal.ROUND_HALF_UP)) for x in scaled], np.int32)
