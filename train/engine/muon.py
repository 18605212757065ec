"""Muon (Jordan et al. 2024): momentum updates whose matrices are made orthogonal before they are applied.

A matrix's update keeps the directions of its momentum, but gives all of them the same length, so that none is neglected. The
orthogonal matrix nearest to M = U S V^T is U V^T. Five steps of an odd polynomial bring every singular value to about 1
(their `COEFFICIENTS` trade exactness for speed: 0.7 to 1.2 works as well). In float32 the polynomial is computed on the
small Gram matrix M M^T and applied to M once. Processes divide the matrices among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ...format.errors import ArgumentError
from . import parallel
from .hardware import has_bfloat16, on_host

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of x, x^3 and x^5
STEPS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """Return approximately the orthogonal matrix nearest to `matrix` [M, N], float32: singular values are 0.7 to 1.2."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    found = _iterated(wide.bfloat16()).float() if has_bfloat16() else _by_gram_matrix(wide)
    return found.T if matrix.shape[0] > matrix.shape[1] else found


def _iterated(wide: Tensor) -> Tensor:
    """Apply the polynomial step by step, which tolerates the rounding of bfloat16."""
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, b * gram + c * (gram @ gram), wide, beta=a)
    return wide


def _by_gram_matrix(wide: Tensor) -> Tensor:
    """Do the same with a third of the work, using products of Gram matrices, which need float32."""
    gram = wide @ wide.T
    a, b, c = COEFFICIENTS
    product = None
    for step in range(STEPS):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else polynomial @ product
        if step < STEPS - 1:
            gram = polynomial @ gram @ polynomial
    assert product is not None
    return product @ wide


def orthogonal_stack(matrices: Tensor) -> Tensor:
    """Apply `orthogonal` to several matrices of one shape, [n, M, N]; computes in bfloat16."""
    wide = matrices.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else matrices
    wide = (wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).bfloat16()
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = wide @ wide.transpose(1, 2)
        wide = torch.baddbmm(wide, b * gram + c * (gram @ gram), wide, beta=a)
    found = wide.float()
    return found.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else found


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for parameters [M, N]; one per training process.

    All processes must hold the same gradients. Each orthogonalizes its share of the matrices, and all receive the results.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        if any(p.dim() != 2 for group in self.param_groups for p in group["params"]):
            raise ArgumentError("Muon moves matrices")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update once; parameters without a gradient do not change."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters and not on_host(parameters[0]):
                self._step_stacks(parameters, group)
                continue
            for p, update in zip(parameters, self._updates(parameters, group["momentum"]), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, p.shape[0] / p.shape[1])))

    def _step_stacks(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update on a GPU, all matrices of one shape at once. The learning rate may be a tensor."""
        for shape in {p.shape for p in parameters}:
            alike = [p for p in parameters if p.shape == shape]
            gradients = [p.grad for p in alike if p.grad is not None]
            means = [self.state[p].setdefault("momentum_buffer", torch.zeros_like(p)) for p in alike]
            torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
            updates = orthogonal_stack(torch.stack(torch._foreach_lerp(gradients, means, group["momentum"])))
            updates = updates * (group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1])))
            torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(alike, list(updates.unbind()))

    def _updates(self, parameters: list[Tensor], momentum: float) -> list[Tensor]:
        """Return the orthogonal update of each parameter, including those computed by other processes."""
        flat = torch.zeros(sum(p.numel() for p in parameters))
        updates = [part.view_as(p) for part, p in zip(flat.split([p.numel() for p in parameters]), parameters, strict=True)]
        for i, p in enumerate(parameters):
            assert p.grad is not None
            mean = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
            mean.lerp_(p.grad, 1 - momentum)
            if i % parallel.world_size() == parallel.rank():
                updates[i].copy_(orthogonal(p.grad.lerp(mean, momentum)))
        parallel.add_up(flat)
        return updates
