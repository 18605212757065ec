"""Limit how much audio a file may decode to: a few bytes of silence can stand for days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..format.errors import ArgumentError

MAX_SECONDS = 86_400.0  # a day


def check_seconds(seconds: float, most: float | None) -> None:
    """Raise ValueError if `seconds` exceeds `most`; None means no limit."""
    if most is not None and seconds > most:
        raise ArgumentError(f"decodes to {seconds:.0f} s, the limit is {most:g} s: raise --max-seconds, or decode a part of it")


def limit_duration(blocks: Iterable[np.ndarray], sample_rate: int, most: float | None) -> Iterator[np.ndarray]:
    """Pass blocks [C, n] on; raise ValueError once they exceed `most` seconds. On a pipe the length is not known before."""
    n_samples = 0
    for block in blocks:
        n_samples += block.shape[-1]
        check_seconds(n_samples / sample_rate, most)
        yield block
