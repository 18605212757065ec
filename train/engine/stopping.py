"""Stop a run at a signal, after the step that is under way."""

from __future__ import annotations

import signal
import time

GRACE_SECONDS = 5.0  # in which a repeated signal is the same one: torchrun passes on what the terminal sends to everyone


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step. A later one interrupts the step."""

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, *_: object) -> None:
        if self.requested and time.monotonic() - self._since > GRACE_SECONDS:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._since = True, time.monotonic()

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
