"""Find the number of codebooks for a bitrate."""

from __future__ import annotations

from ..format.arguments import finite_number, whole_number
from ..format.errors import ArgumentError
from .config import CodecConfig


def codebook_count(config: CodecConfig, kbps: float | None, n_codebooks: int | None) -> int:
    """Return the number of codebooks for a bitrate or a count; all of them if neither is given. Raises ValueError."""
    if kbps is not None and n_codebooks is not None:
        raise ArgumentError("give kbps or n_codebooks, not both")
    if kbps is not None:
        return config.codebooks_for(float(finite_number("kbps", kbps)))
    return config.n_codebooks if n_codebooks is None else whole_number("n_codebooks", n_codebooks, 1, config.n_codebooks)
