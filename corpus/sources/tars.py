"""WebDataset shards: tar files, in which the members of a sample share their name up to the first dot.

The audio member is the recording. .json and .txt members are carried along: the keys of an object, and `text`.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...codec.audio import READABLE_SUFFIXES
from ..errors import CorpusError, one_line, parse_json
from ..items import Item, key_for
from ..store import filesystem, is_url

if TYPE_CHECKING:
    from . import Found

MOST_TEXT = 1 << 20  # bytes of a member that is carried along


def find(place: str, found: Found) -> Iterator[Item]:
    """Yield the recordings of tars: one, a folder of them, or a pattern such as `data-{000..099}.tar`.

    Raises CorpusError for a compressed tar, whose members cannot be read one by one.
    """
    for path in expand(place, ".tar"):
        if path.lower().endswith(".gz"):
            raise CorpusError(f"{path}: is compressed; unpack it with gunzip first")
        yield from _find_in(path, found)


def expand(place: str, suffix: str) -> list[str]:
    """Return the files of a pattern or folder, in order. Raises CorpusError if there is none."""
    if braces := re.search(r"\{(\d+)\.\.(\d+)\}", place):
        first, last = braces[1], braces[2]
        numbers = (str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))
        return [path for n in numbers for path in expand(place[: braces.start()] + n + place[braces.end() :], suffix)]
    if is_url(place):
        fs, root = filesystem(place)
        scheme = place.split("://")[0]
        if "*" in place:
            return [f"{scheme}://{path}" for path in sorted(fs.glob(root))]
        if place.endswith(suffix) or not fs.isdir(root):
            return [place]
        return [f"{scheme}://{path}" for path in sorted(fs.find(root)) if path.endswith(suffix)]
    if os.path.isdir(place):
        paths = sorted(os.path.join(folder, n) for folder, _, names in os.walk(place) for n in names if n.endswith(suffix))
    else:
        paths = [place] if os.path.exists(place) else sorted(glob.glob(place))
    if not paths:
        raise CorpusError(f"{place}: no such file")
    return paths


def _find_in(place: str, found: Found) -> Iterator[Item]:
    """Yield the recordings of a tar. If it is damaged, the last item represents what is lost: reading it fails."""
    file: Any
    if is_url(place):
        fs, path = filesystem(place)
        file = fs.open(path, "rb")
    else:
        file = open(place, "rb")  # noqa: SIM115 - closed below
    stem = os.path.splitext(os.path.basename(place))[0]
    key = ""
    members: list[Any] = []
    columns: dict[str, Any] = {}
    with file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    folder, _, name = member.name.rpartition("/")
                    own = f"{folder}/{name.partition('.')[0]}" if folder else name.partition(".")[0]
                    if own != key:
                        yield from _sample(place, key, members, columns)
                        key, members, columns = own, [], {}
                    suffix = os.path.splitext(member.name)[1].lower()
                    if suffix in READABLE_SUFFIXES:
                        members.append((member.name, member.offset_data, member.size))
                    elif suffix in (".json", ".txt", ".cls") and member.size <= MOST_TEXT:
                        columns |= _carried(tar, member, suffix)
                    else:
                        found.left_out.append((f"{place}/{member.name}", "is not audio"))
                check_end(file, tar.offset)
        except (tarfile.TarError, OSError, EOFError) as error:
            yield from _sample(place, key, members, columns)
            reason = f"the tar is damaged, and its rest is lost ({one_line(error)})"
            yield Item(f"{key_for(stem)}-rest", place, ("lost", reason))
            return
    yield from _sample(place, key, members, columns)


def check_end(file: Any, offset: int) -> None:
    """Raise ReadError unless the file holds the end mark of a tar at `offset` (zeros), and nothing but zeros after it.

    `tarfile` itself stops in silence at a damaged header, at the first end of joined tars, and at the end of the file.
    """
    file.seek(offset)
    data = file.read(tarfile.BLOCKSIZE)
    if len(data) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end mark")
    if data.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {offset} is damaged")
    while data:
        if data.strip(b"\0"):
            raise tarfile.ReadError("more data follows its end, as in joined tars")
        data = file.read(1 << 20)


def _sample(place: str, key: str, members: list[tuple[str, int, int]], columns: dict[str, Any]) -> Iterator[Item]:
    for name, offset, size in members:
        own = key_for(name) if len(members) > 1 else key_for(f"{key}.x")
        yield Item(own, place, ("bytes", offset, size), f"{place}/{name}", size, columns=columns)


def _carried(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> dict[str, Any]:
    """Return the columns of a member. A member that cannot be read gives none."""
    stream = tar.extractfile(member)
    text = (stream.read() if stream else b"").decode("utf-8", "replace")
    if suffix != ".json":
        return {"text" if suffix == ".txt" else "cls": text.strip()}
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {"json": value}
