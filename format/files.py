"""Open inputs and outputs: files that appear only when complete, pipes, and '-' for the standard streams.

Every output follows the same rules. A symbolic link is kept and its target is replaced. A file that replaces another
takes over its mode and owner. Without `overwrite`, the first of two writers wins and the other gets an error. An output
that is not a plain file (a device, a named pipe) is written to directly.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast

from .arguments import path_name
from .errors import ArgumentError

FileLike: TypeAlias = "str | os.PathLike[str] | BinaryIO"  # a path, or a binary file object
STANDARD_STREAMS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust report an error of the system
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # os.link is not supported


@contextlib.contextmanager
def input_stream(name: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading, or standard input for '-'; raises OSError, also for a folder."""
    if str(name) == "-":
        yield standard_stream(sys.stdin, "standard input")
        return
    if Path(path_name(name)).is_dir():
        raise IsADirectoryError(21, "is a folder, not a file", str(name))
    with open(name, "rb") as stream:
        yield stream


def standard_stream(stream: TextIO | None, name: str) -> BinaryIO:
    """Return the binary buffer of a standard stream; raises OSError if the process was started without that stream."""
    if stream is None:
        raise OSError(errno.EBADF, "is closed", name)
    return stream.buffer


class OutputFile(io.BufferedIOBase):
    """A binary output stream whose errors name the output: OSError with `filename`. With `pipe`, it cannot seek."""

    def __init__(self, stream: BinaryIO, name: str, pipe: bool = False) -> None:
        self._stream, self.name, self._pipe = stream, name, pipe

    def write(self, data: Any) -> int:
        """Write all or part of `data`; return the number of bytes written."""
        with named_errors(self.name):
            return self._stream.write(data)

    def flush(self) -> None:
        """Pass all buffered bytes to the system."""
        with named_errors(self.name):
            self._stream.flush()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position; raises io.UnsupportedOperation on a pipe."""
        if self._pipe:
            raise io.UnsupportedOperation("a pipe does not seek")
        with named_errors(self.name):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position of the next byte; raises io.UnsupportedOperation on a pipe."""
        if self._pipe:
            raise io.UnsupportedOperation("a pipe has no position")
        return self._stream.tell()

    def seekable(self) -> bool:
        """Return True if `seek` works."""
        return not self._pipe and self._stream.seekable()

    def writable(self) -> bool:
        """Return True, always."""
        return True


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Make every OSError of the system name the file `name` instead of the system's name for it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, name) from error


@contextlib.contextmanager
def output_stream(file: FileLike, overwrite: bool = True, finish: Callable[[Path], object] | None = None) -> Iterator[BinaryIO]:
    """Open an output; a plain file appears under its name only when everything is written. '-' is standard output.

    `file` may also be a binary file object, which is written to and not closed. A file is first written as a hidden file
    beside its final path, and removed after an exception; `finish` receives the hidden file's path after it is closed, just
    before it is renamed. Raises OSError that names the output, and FileExistsError if the file exists at the end and
    `overwrite` is False.
    """
    if hasattr(file, "write"):
        yield cast(BinaryIO, file)
        return
    if str(file) == "-":
        output = OutputFile(standard_stream(sys.stdout, "standard output"), "standard output", pipe=True)
        yield cast(BinaryIO, output)
        output.flush()
        return
    name, path = path_name(file), Path(os.path.realpath(path_name(file)))
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
        with contextlib.suppress(OSError):  # on a read-only disk, the file was never made
            partial.unlink()


@contextlib.contextmanager
def named_errors_at_exit(stream: BinaryIO, name: str) -> Iterator[None]:
    """Close `stream` after the block. An error while closing names `name`; errors of the block are not changed."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            stream.close()
        raise
    with named_errors(name):
        stream.close()


def is_special(file: str | os.PathLike[str]) -> bool:
    """Return True if `file` must be written to directly: a named pipe, a device, /dev/stdout."""
    if STANDARD_STREAMS.fullmatch(os.fspath(file)):
        return True
    path = Path(file)
    return path.exists() and not path.is_file() and not path.is_dir()


def refuse_to_replace(source: object, target: object) -> None:
    """Raise ArgumentError if two paths are one file: the result would replace its own input. Pipes and file objects pass."""
    if not isinstance(source, str | os.PathLike) or not isinstance(target, str | os.PathLike):
        return
    if "-" in (path_name(source), path_name(target)) or is_special(target):
        return
    if os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target):
        raise ArgumentError(f"{os.fspath(target)}: is the input itself; give another output")


@contextlib.contextmanager
def atomic_path(file: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path for a library to write to; after the block it is renamed to `file`, unless the block raised.

    Errors of the system become an OSError that names `file`, even if the library reports them in its own words. Raises
    FileExistsError if the file exists at the end and `overwrite` is False.
    """
    path = Path(os.path.realpath(file))
    partial = partial_path(path)
    try:
        try:
            yield partial
        except Exception as error:
            raise _renamed(error, partial, str(file)) from error
        with named_errors(str(file)):
            partial.chmod(new_file_mode())  # some libraries write files that only their owner can read
            publish(partial, path, overwrite)
    finally:
        with contextlib.suppress(OSError):  # on a read-only disk, the file was never made
            partial.unlink()


def new_file_mode() -> int:
    """Return the mode of files that this process creates."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def _renamed(error: Exception, partial: Path, name: str) -> Exception:
    """Turn an error of writing `partial` into an OSError that names the output; return other errors unchanged."""
    number = error.errno if isinstance(error, OSError) and error.filename in (None, str(partial), partial) else None
    if found := OS_ERROR.search(str(error)):
        number = int(found[1])
    return error if number is None else OSError(number, os.strerror(number), name)


def publish(partial: Path, path: Path, overwrite: bool = True) -> None:
    """Rename a complete file to `path`, with the mode and owner of the file that it replaces, safely even at a power cut.

    Raises FileExistsError if `path` exists and `overwrite` is False. `partial` may still exist afterwards.
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
    with contextlib.suppress(OSError):  # not every system can sync a folder
        _sync(path.parent)


def _appear(partial: Path, path: Path) -> None:
    """Rename unless `path` exists: in one atomic step, or in two if the disk has no hard links."""
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
    """Open for the owner only, so that the replacement of a private file is private from the beginning."""
    return os.open(path, flags, 0o600)


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def partial_path(path: Path) -> Path:
    """Return the name of a hidden file beside `path`, to be written and then renamed. It is short enough for every disk.

    The name contains the machine and the process that write the file; `remove_leftovers` uses them.
    """
    start = path.name.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")
    return path.with_name(f".{start}.{_machine()}-{os.getpid():x}-{os.urandom(4).hex()}.partial")


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def remove_leftovers(folder: Path) -> None:
    """Remove partial files in `folder` that belong to processes of this machine that no longer run."""
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
    try:  # a process that has ended stays in the list until its parent asks for it
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return True


def seekable(stream: BinaryIO) -> BinaryIO:
    """Copy a pipe's bytes to a temporary file and return that; return a file unchanged."""
    if stream.seekable():
        return stream
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - it is deleted with its last reference
    shutil.copyfileobj(stream, spool)
    spool.seek(0)
    return cast(BinaryIO, spool)
