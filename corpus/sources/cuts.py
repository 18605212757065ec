"""Lhotse cuts: cuts.jsonl(.gz), or a folder in the Shar format. The cut itself is carried along, for outputs of cuts.

Lhotse is not imported. Cuts of one recording are read; mixed and padded cuts, and recordings with transforms, are listed
as failures. A shard of a Shar folder becomes one shard, so that the new fields fit beside the old ones.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import CorpusError, one_line, parse_json
from ..items import Item, key_for
from ..store import is_url
from .manifest import BYTES_PER_SECOND, number_of, open_text, read_rows

if TYPE_CHECKING:
    from . import Found

KINDS = ("MonoCut", "MultiCut", "PaddingCut", "MixedCut", "Cut")


def is_cuts(place: str) -> bool:
    """Return True if the first line of a .jsonl file is a cut."""
    if not place.lower().removesuffix(".gz").endswith(".jsonl"):
        return False
    try:
        with open_text(place) as lines:
            first = parse_json(next(iter(lines), "{}"))
    except (ValueError, OSError, EOFError, zlib.error):
        return False
    return isinstance(first, dict) and first.get("type") in KINDS


def find(place: str, found: Found) -> Iterator[Item]:
    """Yield the cuts of a manifest or of a Shar folder, in order."""
    if is_url(place) or not os.path.isdir(place):
        folder = place.rpartition("/")[0] if is_url(place) else os.path.dirname(place)
        for number, cut in read_rows(place):
            yield _item(f"{place}, line {number}", cut, folder, None)
        return
    names = sorted(name for name in os.listdir(place) if name.startswith("cuts.") and ".jsonl" in name)
    for name in names:
        path = os.path.join(place, name)
        tar = os.path.join(place, f"recording.{name.split('.')[1]}.tar")
        parts = _recordings(tar) if os.path.exists(tar) else {}
        for number, cut in read_rows(path):
            yield replace(_item(f"{path}, line {number}", cut, place, (tar, parts)), group=name)


def _recordings(tar: str) -> dict[str, tuple[str, int, int]]:
    """Return {cut: (name, offset, size)} of the audio in a Shar tar."""
    try:
        with tarfile.open(tar) as members:
            found = [(m.name, m.offset_data, m.size) for m in members if not m.name.endswith((".json", ".nometa", ".nodata"))]
    except (tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{tar}: is damaged ({error})") from None
    return {os.path.splitext(name)[0]: (name, offset, size) for name, offset, size in found}


def _item(where: str, cut: dict[str, Any], folder: str, shar: tuple[str, dict[str, tuple[str, int, int]]] | None) -> Item:
    """Return a cut as an item. Raises CorpusError if it is no cut; one that cannot be read becomes an item that fails."""
    try:
        return _checked_item(where, cut, folder, shar)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{where}: is not a cut that Lhotse writes ({type(error).__name__}: {one_line(error)})") from None


def _checked_item(
    where: str, cut: dict[str, Any], folder: str, shar: tuple[str, dict[str, tuple[str, int, int]]] | None
) -> Item:
    """Return a cut as `_item` does; a field of another kind than Lhotse's raises an error of Python."""
    try:
        cut_id, kind = str(cut["id"]), cut.get("type", "MonoCut")
    except KeyError:
        raise CorpusError(f"{where}: is not a cut (it has no id)") from None
    texts = [s["text"] for s in cut.get("supervisions") or () if isinstance(s, dict) and s.get("text")]
    columns: dict[str, Any] = {"cut": cut, **({"text": " ".join(texts)} if texts else {})}
    key = key_for(f"{cut_id}.x")
    recording = cut.get("recording")

    def lost(reason: str) -> Item:
        return Item(key, where, ("lost", reason), columns=columns)

    if kind not in ("MonoCut", "MultiCut") or not isinstance(recording, dict):
        return lost(f"a {kind} without a recording of its own cannot be read")
    if recording.get("transforms"):
        return lost("its recording has transforms; save the audio with them first")
    seconds = number_of(where, "duration", cut.get("duration") or 0)
    n_bytes = round(seconds * BYTES_PER_SECOND)
    channel = cut.get("channel") if kind == "MonoCut" else None
    if shar is not None and recording["sources"][0]["type"] == "shar":
        if cut_id not in shar[1]:
            return lost("its recording is not in the Shar folder")
        name, offset, size = shar[1][cut_id]
        return Item(key, shar[0], ("bytes", offset, size), f"{shar[0]}/{name}", size, columns=columns)
    sources = [s for s in recording["sources"] if channel is None or channel in s.get("channels", [channel])]
    if not sources or sources[0]["type"] not in ("file", "url"):
        return lost("its recording is neither a file nor a URL")
    path = str(sources[0]["source"])
    place = path if is_url(path) or os.path.isabs(path) or os.path.exists(path) else f"{folder}/{path}"
    own = sources[0].get("channels") or [0]
    number = own.index(channel) if channel in own and len(own) > 1 else None
    start = number_of(where, "start", cut.get("start") or 0)
    is_whole = start == 0 and abs(seconds - float(recording.get("duration") or 0)) < 1e-6
    name = f"{place}, cut {cut_id}"
    return Item(key, place, (), name, n_bytes, start, None if is_whole else seconds, number, columns)
