"""Files that a C library writes: errors and signals are kept until it has returned."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import BinaryIO


class Kept:
    """The file object that a library sees: it never fails, and keeps the first error instead."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`, unless something failed before."""
        if self.error is None:
            try:
                self._stream.write(data)
            except BaseException as error:
                self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; 0 after an error."""
        try:
            return self._stream.seek(offset, whence)
        except BaseException as error:
            self.error = self.error or error
            return 0

    def tell(self) -> int:
        """The place where the next byte goes; 0 after an error."""
        try:
            return self._stream.tell()
        except BaseException as error:
            self.error = self.error or error
            return 0

    def read(self, size: int = -1) -> bytes:
        """Nothing: outputs are not read."""
        return b""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait: an exception inside a callback of a C library would be printed and lost."""
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
