"""Encoder effort: how many paths the searches for codes follow. It changes which codes are chosen, not what codes mean."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from ..format.errors import ArgumentError
from .config import CodecConfig, SplitConfig

MOST_EFFORT = 10


@dataclass(frozen=True)
class LevelBeam:
    """A beam search for levels: it follows `n_paths` paths over the first `n_books` codebooks, and uses no others."""

    n_books: int
    n_paths: int


@dataclass(frozen=True)
class Effort:
    """Numbers of paths that searches follow: for shapes (without levels, for all codes) and for levels. 1 is greedy."""

    shape_paths: int = 1
    level_paths: int = 1

    def level_beam(self, config: CodecConfig, n_codebooks: int) -> LevelBeam | None:
        """Return the beam search for the levels among the first codebooks; None if it would find what a greedy search finds."""
        split = config.architecture
        places = split.level_places if isinstance(split, SplitConfig) else ()
        n_books = sum(place < n_codebooks for place in places)
        return LevelBeam(n_books, self.level_paths) if n_books > 1 and self.level_paths > 1 else None


GREEDY = Effort()
STEPS = (
    GREEDY, Effort(2, 1), Effort(2, 2), Effort(3, 2), Effort(4, 2), Effort(4, 4),
    Effort(6, 4), Effort(8, 4), Effort(16, 4), Effort(16, 8), Effort(32, 8),
)  # fmt: skip


def effort_of(config: CodecConfig, effort: int | Effort) -> Effort:
    """Return the searches for an effort of 0 to 10. Raises ValueError for others, and if the codec has only effort 0."""
    if not isinstance(effort, Effort):
        effort = operator.index(effort)
        if not 0 <= effort <= MOST_EFFORT:
            raise ArgumentError(f"effort must be 0 to {MOST_EFFORT}, got {effort}")
        effort = STEPS[effort]
    if effort != GREEDY and config.exact_dtype != "float64":
        raise ArgumentError(f"{config.name} has effort 0 only: its codes are those of the original EnCodec")
    return effort
