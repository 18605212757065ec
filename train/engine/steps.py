"""The loop over the steps of a run, the same for every trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from . import parallel
from .prefetch import Prefetch
from .stopping import StopRequest

B = TypeVar("B")  # a batch
S = TypeVar("S")  # what a step returns


class Trainee(Protocol):
    """Anything that is trained step by step."""

    recipe: Any  # with its number of `steps`
    step: int
    seconds: float


def take_steps(
    run: Trainee,
    draw: Callable[[int], B],
    take: Callable[[B], S],
    observe: Callable[[list[S], bool], object],
    max_seconds: float = math.inf,
) -> None:
    """Run a trainer's loop, also under torchrun: until the last step, `max_seconds` or the first SIGINT/SIGTERM.

    `draw(step)` returns the batch of a step, and is called one step ahead in a thread. `take(batch)` trains on it. After each
    step, the first process calls `observe` with the results since it last emptied that list, and True if the run ends here.
    """
    stop, began, window = StopRequest(), time.monotonic(), list[S]()
    batches = Prefetch(draw)
    try:
        while run.step < run.recipe.steps:
            tick = time.monotonic()
            window.append(take(batches(run.step)))
            run.seconds += time.monotonic() - tick
            ends = parallel.any_process(stop.requested or time.monotonic() - began > max_seconds)
            if parallel.rank() == 0:
                observe(window, ends)
            if ends:
                break
    finally:
        batches.close()
        stop.restore()
    parallel.stop()
