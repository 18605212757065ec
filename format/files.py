"""Where bytes come from and go to: files that appear only when whole, pipes, and '-' for the standard ones.

One rule for everything that is written: a symbolic link stays and what it points to is replaced; a file that is replaced
hands its mode and owner on; without `overwrite` the first of two writers wins and the other is told; an output that is not a
plain file (a device, a named pipe) is written to as it stands.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast

FileLike: TypeAlias = "str | os.PathLike[str] | BinaryIO"  # a path, or a binary file object
STANDARD_STREAMS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust name what the system said
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # what os.link says where it cannot work


@contextlib.contextmanager
def input_stream(name: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to read, or standard input for '-'; raises OSError, also for a folder."""
    if str(name) == "-":
        yield standard(sys.stdin, "standard input")
        return
    if Path(name).is_dir():
        raise IsADirectoryError(21, "is a folder, not a file", str(name))
    with open(name, "rb") as stream:
        yield stream


def standard(stream: TextIO | None, name: str) -> BinaryIO:
    """The bytes of a standard stream; raises OSError if the process was started without it."""
    if stream is None:
        raise OSError(errno.EBADF, "is closed", name)
    return stream.buffer


class OutputFile(io.BufferedIOBase):
    """A binary stream to write to, whose errors name the output: OSError with `filename`. With `pipe` it does not seek."""

    def __init__(self, stream: BinaryIO, name: str, pipe: bool = False) -> None:
        self._stream, self.name, self._pipe = stream, name, pipe

    def write(self, data: Any) -> int:
        """Write all or part of `data`; returns the number of bytes taken."""
        with named_errors(self.name):
            return self._stream.write(data)

    def flush(self) -> None:
        """Hand everything to the system."""
        with named_errors(self.name):
            self._stream.flush()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; raises io.UnsupportedOperation on a pipe."""
        if self._pipe:
            raise io.UnsupportedOperation("a pipe does not seek")
        with named_errors(self.name):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The place where the next byte goes."""
        if self._pipe:
            raise io.UnsupportedOperation("a pipe has no position")
        return self._stream.tell()

    def seekable(self) -> bool:
        """Whether `seek` works."""
        return not self._pipe and self._stream.seekable()

    def writable(self) -> bool:
        """Always."""
        return True


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Let every OSError of the system say `name` in place of what the system calls the file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, name) from error


@contextlib.contextmanager
def output_stream(file: FileLike, overwrite: bool = True, finish: Callable[[Path], object] | None = None) -> Iterator[BinaryIO]:
    """Open an output; a plain file appears under its name only when everything is written. '-' is standard output.

    `file` may also be a binary file object, which is written to and not closed. Until it is whole, a file is a hidden one
    beside its place, which is removed after an exception; `finish` receives its path when it is closed, just before it
    appears. Raises OSError that names the output, FileExistsError if a file is there at the end and `overwrite` is False.
    """
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    if str(file) == "-":
        output = OutputFile(standard(sys.stdout, "standard output"), "standard output", pipe=True)
        yield cast(BinaryIO, output)
        output.flush()
        return
    name, path = str(file), Path(os.path.realpath(file))
    if is_special(file):
        with named_errors(name), open(file, "wb") as stream:
            yield cast(BinaryIO, OutputFile(stream, name, pipe=True))
        return
    partial = partial_path(path)
    try:
        with named_errors(name):
            stream = open(partial, "xb", opener=_private if path.exists() else None)  # noqa: SIM115 - closed just below
        with named_errors_at_exit(stream, name):
            yield cast(BinaryIO, OutputFile(stream, name))
        with named_errors(name):
            if finish:
                finish(partial)
            publish(partial, path, overwrite)
    finally:
        with contextlib.suppress(OSError):  # what is on a disk that cannot be written was not made
            partial.unlink()


@contextlib.contextmanager
def named_errors_at_exit(stream: BinaryIO, name: str) -> Iterator[None]:
    """Close `stream` at the end; an error of closing it says `name`, those of the block stay as they are."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            stream.close()
        raise
    with named_errors(name):
        stream.close()


def is_special(file: str | os.PathLike[str]) -> bool:
    """Whether a name stands for something to write into as it is: a named pipe, a device, /dev/stdout."""
    if STANDARD_STREAMS.fullmatch(os.fspath(file)):
        return True
    path = Path(file)
    return path.exists() and not path.is_file() and not path.is_dir()


@contextlib.contextmanager
def whole_file(file: str | os.PathLike[str]) -> Iterator[Path]:
    """A path for a library to write a file to, which appears as `file` after the block, unless that raises.

    What the system refuses is an OSError that names `file`, also where the library says it in words of its own.
    """
    path = Path(os.path.realpath(file))
    partial = partial_path(path)
    try:
        try:
            yield partial
        except Exception as error:
            raise _renamed(error, partial, str(file)) from error
        with named_errors(str(file)):
            publish(partial, path)
    finally:
        with contextlib.suppress(OSError):  # what is on a disk that cannot be written was not made
            partial.unlink()


def _renamed(error: Exception, partial: Path, name: str) -> Exception:
    """An error of writing `partial` as one that names the output; others as they are."""
    number = error.errno if isinstance(error, OSError) and error.filename in (None, str(partial), partial) else None
    if found := OS_ERROR.search(str(error)):
        number = int(found[1])
    return error if number is None else OSError(number, os.strerror(number), name)


def publish(partial: Path, path: Path, overwrite: bool = True) -> None:
    """Put a file that is whole in the place of `path`, with the mode and owner of what was there, safe from a power cut.

    Raises FileExistsError if `path` exists and `overwrite` is False. `partial` may be left behind.
    """
    _sync(partial)
    if overwrite:
        with contextlib.suppress(FileNotFoundError):
            was = path.stat()
            with contextlib.suppress(PermissionError):
                os.chown(partial, was.st_uid, was.st_gid)
            partial.chmod(stat.S_IMODE(was.st_mode))
        partial.replace(path)
    else:
        _appear(partial, path)
    with contextlib.suppress(OSError):  # not every system can do this for a folder
        _sync(path.parent)


def _appear(partial: Path, path: Path) -> None:
    """Rename unless `path` exists, in one step; where the disk has no hard links, in two."""
    try:
        try:
            os.link(partial, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            path.open("xb").close()  # claims the name
            partial.replace(path)
    except FileExistsError:
        text = "exists already, somebody else wrote it meanwhile; use --force to overwrite it"
        raise FileExistsError(errno.EEXIST, text, str(path)) from None


def _private(path: str, flags: int) -> int:
    """Open for the owner alone: what takes the place of a private file is private from the beginning."""
    return os.open(path, flags, 0o600)


def _sync(path: Path) -> None:
    """Wait until the disk has the bytes of a file, or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def partial_path(path: Path) -> Path:
    """A hidden file beside `path`, to be written and then renamed; its name is short enough for every disk.

    The name tells the machine and the process that write it, see `remove_leftovers`.
    """
    start = path.name.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")
    return path.with_name(f".{start}.{_machine()}-{os.getpid():x}-{secrets.token_hex(4)}.partial")


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files in `folder` of processes of this machine that were killed and run no more."""
    pattern = re.compile(rf"\..*\.{_machine()}-([0-9a-f]+)-[0-9a-f]{{8}}\.partial", re.DOTALL)
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            found = pattern.fullmatch(entry.name)
            if found and not _is_running(int(found[1], 16)):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def seekable(stream: BinaryIO) -> BinaryIO:
    """A pipe's bytes in a temporary file; a file as it is."""
    if stream.seekable():
        return stream
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with its last reference
    shutil.copyfileobj(stream, spool)
    spool.seek(0)
    return cast(BinaryIO, spool)
