"""Process long signals in overlapping windows: functions of a whole signal run on a stream of blocks in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...format.errors import ArgumentError


@dataclass(frozen=True)
class Windows:
    """The positions of the windows over a signal of `n_samples`.

    Window i is responsible for the samples [i * step, (i + 1) * step). It cross-fades with the next
    window within `fade` samples on each side of their border, and sees `context` samples more. The
    last window ends with the signal and is responsible for 0.5 to 1.5 steps.
    """

    n_samples: int
    step: int  # samples
    context: int = 0
    fade: int = 0

    def __post_init__(self) -> None:
        if self.step < 4 * self.fade or self.step < 1:
            raise ArgumentError(f"a window's step must be at least 4 fades of {self.fade} samples, got {self.step}")

    @property
    def count(self) -> int:
        """Number of windows."""
        return max(1, (2 * self.n_samples + self.step) // (2 * self.step))

    def gives(self, i: int) -> tuple[int, int]:
        """Return the samples [first, last) that window i contributes to."""
        is_last = i == self.count - 1
        return max(0, i * self.step - self.fade), self.n_samples if is_last else (i + 1) * self.step + self.fade

    def sees(self, i: int) -> tuple[int, int]:
        """Return the samples [first, last) that window i is computed from."""
        first, last = self.gives(i)
        return max(0, first - self.context), min(self.n_samples, last + self.context)

    def apply(self, blocks: Iterable[Tensor], function: Callable[[Tensor, int], Tensor]) -> Iterator[Tensor]:
        """Apply `function(window [..., n], its first sample) -> [..., n]` to a signal in blocks [..., m] of any length.

        Yields one block per window, at most 1.5 `step` plus a fade long. If two windows agree, so does
        their cross-fade.
        """
        source, held, start = iter(blocks), None, 0
        tail: Tensor | None = None
        for i in range(self.count):
            (first, last), (seen_first, seen_last) = self.gives(i), self.sees(i)
            held, start = _slide(source, held, start, seen_first, seen_last)
            found = function(held[..., : seen_last - seen_first], seen_first)
            out = found[..., first - seen_first : last - seen_first]
            if tail is not None:
                out = _cross_fade(tail, out)
            if i < self.count - 1 and self.fade:
                out, tail = out[..., : -2 * self.fade], out[..., -2 * self.fade :]
            yield out


def _slide(source: Iterator[Tensor], held: Tensor | None, start: int, first: int, last: int) -> tuple[Tensor, int]:
    """Return the part of a stream from sample `first` to at least `last`, reading more blocks as needed."""
    parts = [] if held is None else [held[..., first - start :]]
    n_held = sum(part.shape[-1] for part in parts)
    while n_held < last - first:
        parts.append(next(source))
        n_held += parts[-1].shape[-1]
    return torch.cat(parts, dim=-1), first


def _cross_fade(tail: Tensor, out: Tensor) -> Tensor:
    """Return `out` with its beginning cross-faded with `tail`; the gains sum to 1."""
    n = tail.shape[-1]
    rise = (torch.arange(n, device=out.device, dtype=out.dtype) + 0.5) / n
    return torch.cat([tail + rise * (out[..., :n] - tail), out[..., n:]], dim=-1)
