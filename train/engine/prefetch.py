"""Draw the batch of the next step while the current step runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

B = TypeVar("B")  # a batch


class Prefetch(Generic[B]):
    """Calls `draw(step)` one step ahead in a thread, so that reading from disk does not delay a step."""

    def __init__(self, draw: Callable[[int], B]) -> None:
        self._draw, self._pool = draw, ThreadPoolExecutor(1)
        self._next: tuple[int, Future[B]] | None = None

    def __call__(self, step: int) -> B:
        """Return the batch of `step`, and start drawing the next one."""
        ready = self._next[1].result() if self._next and self._next[0] == step else self._draw(step)
        self._next = step + 1, self._pool.submit(self._draw, step + 1)
        return ready

    def close(self) -> None:
        """Stop the thread, after the batch that is being drawn."""
        self._pool.shutdown(cancel_futures=True)
