"""Delay patterns: how the codebooks of a frame are spread over a language model's steps (arXiv 2306.05284, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...format.errors import ArgumentError

UNKNOWN = -1  # a cell that is yet to be generated


@dataclass(frozen=True, slots=True)
class DelayPattern:
    """Codebook q of frame t is in column t + delays[q] + 1; all other cells hold `special`.

    Column 0 is all special. Delays of 0, 1, 2 ... are the published pattern; stereo delays come in
    pairs; all zeros is the parallel pattern.
    """

    delays: tuple[int, ...]
    special: int

    def __post_init__(self) -> None:
        if not self.delays or list(self.delays) != sorted(self.delays) or self.delays[0] < 0:
            raise ArgumentError(f"delays must ascend from 0 or more, got {self.delays}")

    @property
    def n_codebooks(self) -> int:
        """Number of codebooks K."""
        return len(self.delays)

    def n_columns(self, n_frames: int) -> int:
        """Return the number of columns S for T frames."""
        return n_frames + self.delays[-1] + 1

    def first_column(self, n_known: int) -> int:
        """Return the first column that holds a code of frame `n_known`, where generation starts after a prompt."""
        return n_known + self.delays[0] + 1

    def n_finished(self, n_columns: int) -> int:
        """Return the number of frames whose codes are all within the first `n_columns` columns."""
        return max(0, n_columns - self.delays[-1] - 1)

    def spread(self, codes: Tensor) -> Tensor:
        """Spread codes over columns: [B, K, T] -> [B, K, S]. UNKNOWN stays UNKNOWN."""
        if codes.dim() != 3 or codes.shape[1] != self.n_codebooks:
            raise ArgumentError(f"codes must be [B, {self.n_codebooks}, T], got {tuple(codes.shape)}")
        n_frames = codes.shape[2]
        columns = codes.new_full((*codes.shape[:2], self.n_columns(n_frames)), self.special)
        for row, delay in enumerate(self.delays):
            columns[:, row, delay + 1 : delay + 1 + n_frames] = codes[:, row]
        return columns

    def gather(self, columns: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the codes of frames `start` to `stop` (default: all finished frames): columns [B, K, S] -> [B, K, t]."""
        stop = self.n_finished(columns.shape[2]) if stop is None else stop
        rows = [columns[:, row, start + delay + 1 : stop + delay + 1] for row, delay in enumerate(self.delays)]
        return torch.stack(rows, dim=1)
