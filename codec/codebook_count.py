"""Find the number of codebooks for a bitrate."""

from __future__ import annotations

import math
import operator

from ..format.errors import ArgumentError
from .config import CodecConfig


def codebook_count(config: CodecConfig, kbps: float | None, n_codebooks: int | None) -> int:
    """Return the number of codebooks for a bitrate or a count; all of them if neither is given. Raises ValueError."""
    if kbps is not None and n_codebooks is not None:
        raise ArgumentError("give kbps or n_codebooks, not both")
    if kbps is not None:
        if not math.isfinite(kbps):
            raise ArgumentError(f"kbps must be a finite number, got {kbps}")
        return config.codebooks_for(kbps)
    n_codebooks = config.n_codebooks if n_codebooks is None else operator.index(n_codebooks)
    if not 1 <= n_codebooks <= config.n_codebooks:
        raise ArgumentError(f"n_codebooks must be 1..{config.n_codebooks}, got {n_codebooks}")
    return n_codebooks
