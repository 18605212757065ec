"""The optimizers of every run: Muon for matrices inside blocks, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .muon import Muon


class Optimizers:
    """AdamW, Muon if it has matrices, and an AdamW for parameters with a rate of their own, if there are any.

    The learning rate of a step is a share of the full one, which a group keeps as `full_lr`.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        rates: tuple[float, float],
        betas: tuple[float, float],
        weight_decay: float,
        special: Iterable[Tensor] = (),
        special_rate: float = 0.0,
    ) -> None:
        """`rates` are the learning rates of Muon and of AdamW. If the first is 0, AdamW trains the matrices too.

        `special` parameters are trained by an AdamW without weight decay, at `special_rate`.
        """
        matrices, others, special = list(matrices), list(others), list(special)
        if not rates[0]:
            matrices, others = [], others + matrices
        self.parts: list[torch.optim.Optimizer] = [_adamw(others, rates[1], betas, weight_decay)]
        if matrices:
            self.parts.append(Muon([_group(matrices, rates[0])], weight_decay=weight_decay))
        if special:
            self.parts.append(_adamw(special, special_rate, betas, 0.0))

    def __iter__(self) -> Iterator[torch.optim.Optimizer]:
        return iter(self.parts)

    def parameters(self) -> list[Tensor]:
        """Return all parameters that the optimizers change."""
        return [p for optimizer in self.parts for group in optimizer.param_groups for p in group["params"]]

    def step(self, share: float | Tensor) -> None:
        """Update once at a share of the full learning rates. A tensor on a GPU may change in a CUDA graph."""
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].copy_(share * group["full_lr"])
                else:
                    group["lr"] = float(share) * group["full_lr"]
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for optimizer in self.parts:
            optimizer.zero_grad(set_to_none=True)

    def prepare_for_graph(self, device: torch.device) -> None:
        """Move the learning rates to a GPU, where a CUDA graph can change them. Call this before loading a state."""
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
                if "capturable" in group:
                    group["capturable"] = True

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all parts by consecutive numbers. Rates are not saved; they follow from the step."""
        state: dict[int, Any] = {}
        n_before = 0
        for optimizer in self.parts:
            state |= {n_before + i: value for i, value in optimizer.state_dict()["state"].items()}
            n_before += _count(optimizer)
        return {"state": state, "param_groups": []}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        n_before = 0
        for optimizer in self.parts:
            n = _count(optimizer)
            own = {i - n_before: value for i, value in values["state"].items() if n_before <= i < n_before + n}
            optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})
            n_before += n


def _group(parameters: list[Tensor], rate: float) -> dict[str, Any]:
    return {"params": parameters, "lr": rate, "full_lr": rate}


def _adamw(parameters: list[Tensor], rate: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW([_group(parameters, rate)], betas=betas, weight_decay=weight_decay, fused=True)


def _count(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)
