"""Folders, local or by URL: every audio file at any depth, in the order of the names. A single file is a folder of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...codec.audio import READABLE_SUFFIXES
from ..items import Item, key_for
from ..store import filesystem, is_url

if TYPE_CHECKING:
    from . import Found


def find(place: str, found: Found) -> Iterator[Item]:
    """Yield the audio files of a folder."""
    if is_url(place):
        yield from _find_remote(place, found)
        return
    if os.path.isfile(place):
        yield Item(key_for(os.path.basename(place)), place, n_bytes=os.path.getsize(place))
        return
    output = os.path.realpath(found.output) if found.output and not is_url(found.output) else None
    closed: list[OSError] = []
    for folder, folders, files in os.walk(place, onerror=closed.append):
        yield from _unreadable(place, closed)
        folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(folder, name)) != output)
        for name in folders:
            if os.path.islink(path := os.path.join(folder, name)):
                found.left_out.append((path, "is a link to a folder, which is not followed"))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if reason := why_not(name):
                found.left_out.append((path, reason))
            else:
                yield Item(key_for(os.path.relpath(path, place)), path, n_bytes=_size(path))
    yield from _unreadable(place, closed)


def _unreadable(place: str, closed: list[OSError]) -> Iterator[Item]:
    """Yield an item that fails for each folder that could not be opened. Raises OSError if it is `place` itself."""
    while closed:
        error = closed.pop()
        path = str(error.filename)
        if path == place:
            raise error
        yield Item(key_for(f"{os.path.relpath(path, place)}.x"), path, ("lost", f"cannot be read ({error.strerror})"))


def _size(path: str) -> int:
    """Return a file's size, or 0 for what cannot be read: a link to nothing, a file that has just been removed."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _find_remote(url: str, found: Found) -> Iterator[Item]:
    fs, root = filesystem(url)
    scheme = url.split("://")[0]
    if fs.isfile(root):
        yield Item(key_for(root.rsplit("/", 1)[-1]), url, n_bytes=fs.size(root) or 0)
        return
    for path, about in sorted(fs.find(root, detail=True).items()):
        name = path.rsplit("/", 1)[-1]
        where = path if "://" in path else f"{scheme}://{path}"
        if reason := why_not(name):
            found.left_out.append((where, reason))
        else:
            inside = path.removeprefix(root).lstrip("/") or name
            yield Item(key_for(inside), where, n_bytes=about.get("size") or 0)


def why_not(name: str) -> str | None:
    """Return why a file is not taken, by its name; None if it is."""
    if name.startswith("._"):
        return "holds what macOS knows about another file"
    if os.path.splitext(name)[1].lower() not in READABLE_SUFFIXES:
        return "its name does not end in a known suffix of audio"
    return None
