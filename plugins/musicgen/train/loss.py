"""Cross-entropy of the heads, computed together with its gradients: logits of a row of the batch at a time, never of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

CHUNK = 384  # columns whose logits are in the cache at once


class HeadLosses(torch.autograd.Function):
    """Nats of the codes of each head, weighted.

    Shapes: hidden [R, S, D], weight [H * V, D], codes int64 [R, H, T], `firsts` H columns: the
    code of frame t is drawn from column firsts[h] + t. -> (the sum over heads of scales[h] * nats,
    nats [H], summed over rows and frames).
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, codes: Tensor, firsts: Sequence[int], scales: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Gradients are made here, while the logits are at hand."""
        n_rows, n_heads, n_frames = codes.shape
        heads, wants = weight.view(n_heads, -1, weight.shape[1]), any(ctx.needs_input_grad)
        nats = hidden.new_zeros(n_heads)
        to_hidden, to_heads = (torch.zeros_like(hidden), torch.zeros_like(heads)) if wants else (hidden, heads)
        for row in range(n_rows):
            for h, (first, scale) in enumerate(zip(firsts, scales, strict=True)):
                for start in range(0, n_frames, CHUNK):
                    stop = min(start + CHUNK, n_frames)
                    part = slice(first + start, first + stop)
                    x, targets = hidden[row, part], codes[row, h, start:stop, None]
                    p = log_softmax(x @ heads[h].t(), dim=-1)
                    nats[h] -= p.gather(1, targets).sum()
                    if wants:  # softmax less one at the target
                        p.exp_().scatter_add_(1, targets, p.new_full((1, 1), -1.0).expand(len(targets), 1))
                        to_hidden[row, part].addmm_(p, heads[h], alpha=scale)
                        to_heads[h].addmm_(p.t(), x, alpha=scale)
        ctx.save_for_backward(to_hidden, to_heads.view_as(weight))
        ctx.mark_non_differentiable(nats)
        return (nats * nats.new_tensor(scales)).sum(), nats

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """What was made, times the gradient of the first output."""
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * gradient, to_weight * gradient, None, None, None
