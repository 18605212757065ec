"""Read bytes as they arrive: one forward reader with look-ahead for regular files and pipes.

Only Python opens names. No library sees a name, so none guesses a format from a suffix, and a
name may contain any bytes.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from ..format.arguments import path_name
from ..format.files import standard_stream
from .errors import AudioError

PIECE = 1 << 16  # bytes requested from a pipe at once
MAX_KEPT = 1 << 20  # bytes


class LookaheadReader:
    """A binary stream that is read forwards: `peek` looks ahead, `read` returns what has arrived.

    `size` is the length of a regular file in bytes, or None for a pipe. There is no `seek`: call
    `as_seekable()` if you need it.
    """

    def __init__(self, stream: BinaryIO, regular: bool = False) -> None:
        self._stream = stream
        self._ahead = b""
        self._kept: list[bytes] | None = None
        self._read_some = getattr(stream, "read1", stream.read)
        self.position = 0  # of the next byte that `read` returns
        self.n_zeros = 0  # zero bytes at the end of what `read` returned so far
        self.size: int | None = os.fstat(stream.fileno()).st_size if regular else None

    def peek(self, n_bytes: int) -> bytes:
        """Return the next `n_bytes` without taking them, or fewer if the stream ends."""
        while len(self._ahead) < n_bytes:
            part = self._read_some(max(n_bytes - len(self._ahead), PIECE))
            if not part:
                break
            self._ahead += part
        return self._ahead[:n_bytes]

    def read(self, n_bytes: int) -> bytes:
        """Take and return at most `n_bytes` that have arrived; empty at the end."""
        part = self._ahead[:n_bytes] or self._read_some(n_bytes)
        self._ahead = self._ahead[len(part) :]
        self.position += len(part)
        n_zeros = len(part) - len(part.rstrip(b"\0"))
        self.n_zeros = n_zeros + (self.n_zeros if n_zeros == len(part) else 0)
        if self._kept is not None and self.position < MAX_KEPT:
            self._kept.append(part)
        return part or b""

    def keep(self) -> None:
        """From now on, keep the first bytes that a pipe gives, for `kept`."""
        self._kept = [] if self.size is None else None

    @property
    def kept(self) -> bytes:
        """The first bytes that a pipe gave since `keep` was called, about MAX_KEPT at most."""
        return b"".join(self._kept or ()) + self._ahead

    def take(self, n_bytes: int) -> bytes:
        """Take and return exactly `n_bytes`, or fewer if the stream ends."""
        parts, missing = [], n_bytes
        while missing and (part := self.read(min(missing, 1 << 20))):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def skip(self, n_bytes: int) -> None:
        """Skip `n_bytes`, or fewer if the stream ends."""
        if self.size is not None:
            self.position = min(self.position + n_bytes, self.size)
            self._ahead = b""
            self._stream.seek(self.position)
            return
        while n_bytes and (part := self.read(min(n_bytes, PIECE))):
            n_bytes -= len(part)

    def rewind(self, position: int) -> None:
        """Go back to `position` in a regular file. On a pipe nothing has been taken since, so this does nothing."""
        if self.size is not None:
            self._stream.seek(position)
            self._ahead, self.position = b"", position

    def as_seekable(self) -> BinaryIO:
        """Return the whole stream from its start as a seekable file; a pipe is copied to a temporary file.

        Call it before the first `read` of a pipe. The caller closes the temporary file.
        """
        if self.size is not None:
            self._stream.seek(0)
            return self._stream
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        while part := self.read(PIECE):
            spool.write(part)
        spool.seek(0)
        return spool  # type: ignore[return-value]


def open_lookahead(source: str | os.PathLike[str]) -> tuple[LookaheadReader, BinaryIO | None]:
    """Open a path, or standard input for '-'. Also return the file that the caller must close, if any.

    Regular files can seek; named pipes, `/dev/stdin` and `<(...)` are read as they arrive.
    Raises AudioError if there is no such file, OSError if standard input is closed.
    """
    if path_name(source) == "-":
        return LookaheadReader(standard_stream(sys.stdin, "standard input")), None
    path = Path(source)
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror})") from None
    return LookaheadReader(stream, stat.S_ISREG(os.fstat(stream.fileno()).st_mode)), stream


def is_text(head: bytes) -> bool:
    """Return True if bytes are text: only printable characters and line ends, most of them ASCII."""
    if head.startswith((b"\xff\xfe<", b"\xff\xfe#", b"\xfe\xff\0")):
        return True
    if head.startswith(b"NIST_1A") or any(byte < 0x20 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    if sum(byte < 0x7F for byte in head) > 0.85 * len(head):
        return True
    try:
        head[:-4].decode() if len(head) > 4 else head.decode()
    except UnicodeDecodeError as error:
        return len(head) - error.start < 8
    return True
