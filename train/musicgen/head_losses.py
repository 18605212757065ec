"""Cross-entropy of the heads together with its gradients, for one batch item at a time, to save memory for logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

CHUNK = 384  # columns whose logits fit into the cache


class HeadLosses(torch.autograd.Function):
    """Weighted nats of the codes of each head.

    Shapes: hidden [R, S, D], weight [H * V, D], codes int64 [R, H, T], `firsts` H columns: column
    firsts[h] + t predicts the code of frame t. -> (the sum over heads of scales[h] * nats, nats [H],
    summed over items and frames).
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, codes: Tensor, firsts: Sequence[int], scales: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Also computes the gradients, because the logits are available here."""
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
                    if wants:  # softmax minus one at the target
                        p.exp_().scatter_add_(1, targets, p.new_full((1, 1), -1.0).expand(len(targets), 1))
                        to_hidden[row, part].addmm_(p, heads[h], alpha=scale)
                        to_heads[h].addmm_(p.t(), x, alpha=scale)
        ctx.save_for_backward(to_hidden, to_heads.view_as(weight))
        ctx.mark_non_differentiable(nats)
        return (nats * nats.new_tensor(scales)).sum(), nats

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Scale the computed gradients by the gradient of the first output."""
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * gradient, to_weight * gradient, None, None, None
