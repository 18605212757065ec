"""The folder of a corpus: a local folder, or any URL that fsspec writes. Files appear only when they are complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..format.files import atomic_path, remove_leftovers
from .errors import library


def is_url(place: str) -> bool:
    """Return True if a place is a URL rather than a local path."""
    return "://" in place


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path in it. Raises MissingLibrary, or CorpusError without its library."""
    fsspec = library("fsspec", "corpus", f"the URL {url}")
    from .errors import CorpusError, one_line

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise CorpusError(f"{url}: cannot be opened ({one_line(error)})") from None
    return fs, path


class Store:
    """Named files in one folder. Names may contain `/`."""

    def __init__(self, where: str | os.PathLike[str]) -> None:
        self.where = os.fspath(where)
        self._fs: Any = None
        self._root = self.where
        if is_url(self.where):
            self._fs, self._root = filesystem(self.where)

    def __str__(self) -> str:
        return self.where

    def place(self, name: str) -> str:
        """Return the path or URL of a file, for messages and other programs."""
        return f"{self.where.rstrip('/')}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/') or '/'}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if there is no such file."""
        try:
            if self._fs is None:
                return Path(self._path(name)).read_bytes()
            return bytes(self._fs.cat_file(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes, overwrite: bool = True) -> None:
        """Write a whole file. Without `overwrite`, a local file that another process has just written is kept."""
        try:
            with self.new(name, overwrite) as path:
                path.write_bytes(data)
        except FileExistsError:
            if overwrite:
                raise

    @contextlib.contextmanager
    def new(self, name: str, overwrite: bool = True) -> Iterator[Path]:
        """Yield a local path to write to; after the block the file appears under its name, unless the block raised.

        Raises FileExistsError if it exists already, is local, and `overwrite` is False.
        """
        if self._fs is None:
            target = Path(self._path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target, overwrite) as path:
                yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name.rsplit("/", 1)[-1]
            yield path
            self._fs.makedirs(self._path(name).rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(path), self._path(name))

    def delete(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            if self._fs is None:
                os.unlink(self._path(name))
            else:
                self._fs.rm_file(self._path(name))

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of the files in a folder of the store, without those below it and without hidden files."""
        path = self._path(folder).rstrip("/") if folder else self._root
        try:
            if self._fs is None:
                found = [entry.name for entry in os.scandir(path) if entry.is_file()]
            else:
                self._fs.invalidate_cache()
                found = [str(e["name"]).rsplit("/", 1)[-1] for e in self._fs.ls(path, detail=True) if e["type"] == "file"]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(f"{folder}/{name}" if folder else name for name in found if not name.startswith("."))

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if there is no such file."""
        try:
            return os.stat(self._path(name)).st_size if self._fs is None else int(self._fs.size(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield a local path with a file's bytes: the file itself, or a copy. Raises FileNotFoundError."""
        if self._fs is None:
            yield Path(self._path(name))
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name.rsplit("/", 1)[-1]
            self._fs.get_file(self._path(name), str(path))
            yield path

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of processes of this machine that no longer run."""
        if self._fs is None and os.path.isdir(self._root):
            for folder in (self._root, *(entry.path for entry in os.scandir(self._root) if entry.is_dir())):
                remove_leftovers(Path(folder))


def sha256_of(path: Path) -> str:
    """Return the hash of a local file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_to_local(url: str, path: Path) -> None:
    """Copy a URL's bytes to a local file."""
    fs, inside = filesystem(url)
    with fs.open(inside, "rb") as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
