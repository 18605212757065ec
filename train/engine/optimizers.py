"""Muon for matrices inside blocks and AdamW for everything else, saved as a single optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn as nn

from .muon import Muon


class Optimizers:
    """Both optimizers. Their states are numbered consecutively."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        rates: tuple[float, float],
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        """`rates` are the learning rates of Muon and of AdamW. If the first is 0, AdamW trains the matrices too."""
        matrices, others = list(matrices), list(others)
        if not rates[0]:
            matrices, others = [], others + matrices
        adamw = torch.optim.AdamW(others, lr=rates[1], betas=betas, weight_decay=weight_decay, fused=True)
        self.parts: list[tuple[torch.optim.Optimizer, float]] = [(adamw, rates[1])]
        if matrices:
            self.parts.append((Muon(matrices, lr=rates[0], weight_decay=weight_decay), rates[0]))

    def step(self, share: float) -> None:
        """Update once at a share of the learning rates."""
        for optimizer, rate in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for optimizer, _ in self.parts:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the state by number, like torch's optimizers. Rates are not saved; they follow from the step."""
        state: dict[int, Any] = {}
        n_before = 0
        for optimizer, _ in self.parts:
            state |= {n_before + i: value for i, value in optimizer.state_dict()["state"].items()}
            n_before += _count(optimizer)
        return {"state": state, "param_groups": []}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        n_before = 0
        for optimizer, _ in self.parts:
            n = _count(optimizer)
            own = {i - n_before: value for i, value in values["state"].items() if n_before <= i < n_before + n}
            optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})
            n_before += n


def _count(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)
