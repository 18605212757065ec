"""Encoder effort: how many paths the search for codes follows. It changes which codes are chosen, not what codes mean."""

from __future__ import annotations

from ..format.arguments import whole_number
from ..format.errors import ArgumentError
from .config import CodecConfig

# Paths of the beam search (quantize/beam.py) for each effort from 0 to 10; 1 is the greedy search. `ecdc bench effort` measured
# that a step to the next number of paths is worth its time, and that a step between two of these is not.
PATHS = 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 16
MOST_EFFORT = len(PATHS) - 1
FILE_EFFORT = 4  # of files, unless the caller chooses: better in most scores, for 1.6 times the time at 6 kbps


def file_effort(config: CodecConfig, effort: int | None = None) -> int:
    """Return the effort for encoding a file, 0 to 10: how long codes are searched for.

    None chooses FILE_EFFORT, or 0 for a codec that has no other. Raises ValueError for one that the codec does not have.
    """
    if effort is None:
        return FILE_EFFORT if config.exact_dtype == "float64" else 0
    paths_of(config, effort)
    return effort


def paths_of(config: CodecConfig, effort: int) -> int:
    """Return the number of paths for an effort of 0 to 10. Raises ValueError for others, and if the codec has only effort 0."""
    effort = whole_number("effort", effort, 0, MOST_EFFORT)
    if effort and config.exact_dtype != "float64":
        raise ArgumentError(f"{config.name} has effort 0 only: its codes are those of the original EnCodec")
    return PATHS[effort]
