"""Balance losses by the size of their gradients at the decoder's output (EnCodec, section 3.4, equation 5)."""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor


class Balancer(nn.Module):
    """Adds the gradients of several losses, each rescaled to its share.

    With g_i the gradient of loss i at the output and <|g_i|> a moving average of its norm,
    the sum is

        sum_i  R * w_i / (sum_j w_j) * g_i / <|g_i|>

    so a weight is the share of a loss in the update, for any scale of the loss and any drift.
    EnCodec uses R = 1. Here R = <|g_0|>, the norm of the first loss: the update is as large as that
    loss alone would make it, so losses elsewhere in the network, such as the commitment loss, keep
    their relative weight.
    """

    norms: Tensor
    total: Tensor

    def __init__(self, names: tuple[str, ...], decay: float = 0.99) -> None:
        super().__init__()
        self.names, self.decay = names, decay
        self.register_buffer("norms", torch.zeros(len(names), dtype=torch.float64))
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))

    def gradient(self, losses: dict[str, Tensor], weights: dict[str, float], output: Tensor) -> Tensor:
        """Return the balanced gradient at `output`, of the same shape. Both dicts have the balancer's names as keys."""
        gradients = [torch.autograd.grad(losses[name], output, retain_graph=True)[0] for name in self.names]
        found = torch.stack([g.norm().double() for g in gradients])
        self.norms.mul_(self.decay).add_(found, alpha=1 - self.decay)
        self.total.mul_(self.decay).add_(1 - self.decay)
        norms = self.norms / self.total  # without the bias of the first steps
        share = 1 / max(sum(weights.values()), 1e-12)
        balanced = torch.zeros_like(output)
        for name, gradient, norm in zip(self.names, gradients, norms, strict=True):
            balanced.add_(gradient, alpha=float(norms[0] / norm.clamp(min=1e-12)) * weights[name] * share)
        return balanced
