"""Exact reads and writes on any file object: pipes with short reads, streams that start in the middle of a file."""

from __future__ import annotations

import io
import threading
from typing import BinaryIO, cast

from .arguments import readable
from .errors import Truncated

PIECE = 1 << 20  # bytes per read, so that a damaged length cannot allocate more memory than there are bytes


class Source:
    """A binary file object with exact reads and a known position.

    `offset` counts from the initial position of the file object. `size` is the number of bytes from there to the end;
    None on a pipe. A thread that shares the source must hold `lock` from its seek to the end of its read.
    """

    def __init__(self, fileobj: BinaryIO) -> None:
        self._fileobj = readable(fileobj)
        self.lock = threading.RLock()
        self.offset = 0
        self.size: int | None = None
        seekable = getattr(fileobj, "seekable", None)
        if seekable is not None and seekable():
            self._start = fileobj.tell()
            self.size = fileobj.seek(0, io.SEEK_END) - self._start
            fileobj.seek(self._start)

    @property
    def seekable(self) -> bool:
        return self.size is not None

    def seek(self, offset: int) -> None:
        """Go to `offset`; on a pipe, raise io.UnsupportedOperation unless that is the current position."""
        if self.seekable:
            self._fileobj.seek(self._start + offset)
        elif offset != self.offset:
            raise io.UnsupportedOperation("a pipe can be read once and forward only")
        self.offset = offset

    def read(self, size: int, what: str, start: int | None = None) -> bytes:
        """Read exactly `size` bytes, or raise Truncated for `what` at offset `start`; None: the current position."""
        data = self.read_up_to(size)
        if len(data) < size:
            at = self.offset - len(data)
            raise Truncated(at if start is None else start, f"{what} needs {size} bytes here, {len(data)} remain")
        return data

    def at_end(self) -> bool:
        """Return True if no byte follows. On a pipe, this consumes one byte if there is one."""
        return not self.read_up_to(1)

    def read_up_to(self, size: int) -> bytes:
        """Read `size` bytes, or all that remain if there are fewer."""
        parts = []
        missing = size
        while missing:
            part = self._fileobj.read(min(missing, PIECE))
            if part is None:
                raise BlockingIOError("the file object does not block: wait for its bytes, then read")
            if not part:
                break
            parts.append(part)
            missing -= len(part)
            self.offset += len(part)
        return b"".join(parts)


class Rewound:
    """A pipe to which the bytes already read from it are prepended."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int = -1) -> bytes | None:
        if not self._first:
            return self._rest.read(size)
        if size < 0:
            part, self._first = self._first, b""
            return part + (self._rest.read() or b"")
        part, self._first = self._first[:size], self._first[size:]
        return part

    def seekable(self) -> bool:
        return False


def look_ahead(fileobj: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """Return the next `size` bytes (fewer at the end), and a file object that still yields them."""
    source = Source(fileobj)
    data = source.read_up_to(size)
    if not source.seekable:
        return data, cast(BinaryIO, Rewound(data, fileobj))
    source.seek(0)
    return data, fileobj


def write_all(fileobj: BinaryIO, data: bytes) -> None:
    """Write all of `data`, even if an unbuffered file object accepts only parts at a time, and flush it."""
    view = memoryview(data)
    while view:
        written = fileobj.write(view)
        if written is None and isinstance(fileobj, io.RawIOBase):
            raise BlockingIOError("the file object does not block: part of the stream was not written")
        view = view[len(view) if written is None else written :]
    flush = getattr(fileobj, "flush", None)
    if flush is not None:
        flush()
