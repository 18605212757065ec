"""How much audio a file may become: a few bytes of silence can stand for days of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

MAX_SECONDS = 86_400.0  # a day


def check_seconds(seconds: float, most: float | None) -> None:
    """Raise ValueError if more audio than `most` seconds is to be decoded; None: any amount may be."""
    if most is not None and seconds > most:
        raise ValueError(f"decodes to {seconds:.0f} s, the limit is {most:g} s: raise --max-seconds, or decode a part of it")


def bounded(blocks: Iterable[np.ndarray], sample_rate: int, most: float | None) -> Iterator[np.ndarray]:
    """Pass blocks [C, n] on; raise ValueError once they are longer than `most` seconds, as on a pipe nobody knows before."""
    n_samples = 0
    for block in blocks:
        n_samples += block.shape[-1]
        check_seconds(n_samples / sample_rate, most)
        yield block
