"""Files written by a C library: errors and signals are held back until it has returned."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import BinaryIO


class ErrorKeepingFile:
    """The file object that a library sees. It never fails, and keeps the first error instead."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`, unless an earlier call failed."""
        if self.error is None:
            try:
                self._stream.write(data)
            except BaseException as error:
                self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position; returns 0 after an error."""
        try:
            return self._stream.seek(offset, whence)
        except BaseException as error:
            self.error = self.error or error
            return 0

    def tell(self) -> int:
        """Return the position of the next byte; 0 after an error."""
        try:
            return self._stream.tell()
        except BaseException as error:
            self.error = self.error or error
            return 0

    def read(self, size: int = -1) -> bytes:
        """Return nothing, because outputs are not read."""
        return b""


@contextlib.contextmanager
def delayed_signals() -> Iterator[None]:
    """Delay SIGINT and SIGTERM, because an exception inside a C library's callback would be printed and lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {s: signal.signal(s, lambda number, _: waiting.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler or signal.SIG_DFL)
    for number in waiting:
        signal.raise_signal(number)
