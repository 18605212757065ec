"""From logits to tokens: guidance, temperature, sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...format.errors import ArgumentError, EcdcError

COLDEST = 1e-30  # temperature; float32 cannot divide by much smaller numbers
STRONGEST = 1e6  # guidance; far more than is useful, and far less than overflows


class NotFinite(EcdcError, ArithmeticError):
    """A model gives logits that are NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn: from the best `top_k`, the most likely share `top_p`, or all. Temperature 0 takes the likeliest."""

    top_k: int = 250  # 0: no limit
    top_p: float = 0.0  # 0: not used; otherwise replaces top_k
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name, value, good in (
            ("top_k", self.top_k, self.top_k >= 0),
            ("top_p", self.top_p, 0 <= self.top_p <= 1),
            ("temperature", self.temperature, 0 <= self.temperature < math.inf),
        ):
            if not good:
                raise ArgumentError(f"{name} must be {'in [0, 1]' if name == 'top_p' else '0 or more'}, got {value}")

    def __call__(self, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw tokens [B, K] from logits [B, K, V]. Item b uses generators[b], so it does not depend on its batch.

        Raises NotFinite if a logit is NaN or infinite.
        """
        if not bool(logits.isfinite().all()):
            raise NotFinite("the model computes numbers that are not finite: its weights are damaged, or do not fit together")
        scaled = logits / max(self.temperature, COLDEST) if self.temperature else logits
        if self.temperature == 0 or not bool(scaled.isfinite().all()):  # a temperature of almost 0 gives the same tokens as 0
            return logits.argmax(dim=-1)
        p = scaled.softmax(dim=-1)
        if self.top_p > 0:
            # Drawn in sorted order, as in the original, so the same seed draws the same tokens.
            p, order = p.sort(dim=-1, descending=True)
            p = p * (p.cumsum(dim=-1) - p <= self.top_p)
            return order.gather(-1, self._draw(p, generators)[..., None])[..., 0]
        if 0 < self.top_k < p.shape[-1]:
            p = p * (p >= p.topk(self.top_k, dim=-1).values[..., -1:])  # entries equal to the last one are kept
        return self._draw(p, generators)

    @staticmethod
    def _draw(p: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        p = p / p.sum(dim=-1, keepdim=True)
        return torch.stack([torch.multinomial(q, 1, generator=g)[:, 0] for q, g in zip(p, generators, strict=True)])


GREEDY = Sampling(temperature=0)


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance (arXiv 2306.05284, section 2.3): how strongly to follow the conditions.

    `text_scale` (the original's beta) weighs the text against a melody. `two_step` runs the
    unconditional items separately, without padding them to the length of the others.
    """

    scale: float = 3.0
    text_scale: float | None = None
    two_step: bool = False

    def __post_init__(self) -> None:
        for name, value in (("guidance", self.scale), ("text_scale", self.text_scale)):
            if value is not None and not abs(value) <= STRONGEST:
                raise ArgumentError(f"{name} must be a finite number from {-STRONGEST:g} to {STRONGEST:g}, got {value}")
        if self.two_step and self.text_scale is not None:
            raise ArgumentError("two_step guidance has no text_scale: give one of them")

    @property
    def is_double(self) -> bool:
        """Whether text and melody are weighed against each other."""
        return self.text_scale is not None

    def mix(self, branches: Sequence[Tensor]) -> Tensor:
        """Combine the logits of one, two (full, null) or three (full, melody only, null) branches into those to sample from."""
        if len(branches) == 1:
            return branches[0]
        full, null = branches[0], branches[-1]
        if len(branches) == 3:
            assert self.text_scale is not None
            melody = branches[1]
            return null + self.scale * (melody + self.text_scale * (full - melody) - null)
        return null + self.scale * (full - null)
