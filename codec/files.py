"""Where bytes come from and go to: files that appear only when whole, and pipes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from .audio import AudioError, partial_path


@contextlib.contextmanager
def output_bytes(target: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary output: '-' for standard output, else a file that appears only when whole."""
    if str(target) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    partial = partial_path(path)
    try:
        with open(partial, "wb") as stream:
            yield stream
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def input_bytes(source: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary input: '-' for standard input, else a file; raises AudioError where there is none."""
    if str(source) == "-":
        yield sys.stdin.buffer
        return
    path = Path(source)
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an .ecdc file")
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    with open(path, "rb") as stream:
        yield stream


def seekable(stream: BinaryIO) -> BinaryIO:
    """A pipe's bytes in a temporary file; a file as it is."""
    if stream.seekable():
        return stream
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with its last reference
    shutil.copyfileobj(stream, spool)
    spool.seek(0)
    return cast(BinaryIO, spool)
