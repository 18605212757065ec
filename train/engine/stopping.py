"""Stop a run at a signal, after the step that is under way."""

from __future__ import annotations

import signal


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step."""

    def __init__(self) -> None:
        self.requested = False
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
