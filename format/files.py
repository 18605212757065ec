"""Where bytes come from and go to: files that appear only when whole, pipes, and '-' for the standard ones."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

FileLike: TypeAlias = "str | os.PathLike[str] | BinaryIO"  # a path, or a binary file object


@contextlib.contextmanager
def input_stream(name: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to read, or standard input for '-'; raises OSError, also for a folder."""
    if str(name) == "-":
        yield sys.stdin.buffer
        return
    if Path(name).is_dir():
        raise IsADirectoryError(21, "is a folder, not a file", str(name))
    with open(name, "rb") as stream:
        yield stream


@contextlib.contextmanager
def output_stream(file: FileLike) -> Iterator[BinaryIO]:
    """A path's file, which appears only when whole, in place of one that was there; '-' is standard output.

    Written beside and renamed; a device or a named pipe is written to, and a file object is given back as it is.
    """
    if file == "-" or hasattr(file, "write"):
        yield sys.stdout.buffer if file == "-" else cast(BinaryIO, file)
        return
    path = Path(os.path.realpath(file))  # a link keeps pointing, to what is new
    if path.exists() and not path.is_file():  # a device, or a named pipe; a folder is an OSError
        with path.open("wb") as stream:
            yield stream
        return
    partial = partial_path(path)
    try:
        with partial.open("xb") as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """A hidden file beside `path`, to be written and then renamed."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.partial")


def seekable(stream: BinaryIO) -> BinaryIO:
    """A pipe's bytes in a temporary file; a file as it is."""
    if stream.seekable():
        return stream
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with its last reference
    shutil.copyfileobj(stream, spool)
    spool.seek(0)
    return cast(BinaryIO, spool)
