"""Moving averages of weights, which are validated and exported instead of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def average_share(decay: float, step: int) -> float:
    """Return the share of the new weights in the average at a step: larger at first, so that initial values are forgotten."""
    return 1 - min(decay, (step + 1) / (step + 10))


@torch.no_grad()
def move_averages(averages: Iterable[Tensor], values: Iterable[Tensor], share: float | Tensor) -> None:
    """Move each average towards its value by `share`, from 0 to 1. As a tensor on a GPU, `share` may change in a CUDA graph."""
    pairs = list(zip(averages, values, strict=True))
    if isinstance(share, Tensor) and pairs:
        means = [mean for mean, _ in pairs]
        differences = torch._foreach_sub([value.detach() for _, value in pairs], means)
        torch._foreach_mul_(differences, share)
        torch._foreach_add_(means, differences)
        return
    for mean, value in pairs:
        mean.lerp_(value.detach(), share)
