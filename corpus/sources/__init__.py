"""Sources: every kind is a module with `find(place, found)`, which yields items in an order that does not change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from ..errors import CorpusError, one_line
from ..items import Item, with_unique_keys
from ..store import is_url

KINDS = ("folder", "manifest", "webdataset", "table", "lhotse")


@dataclass
class Found:
    """Options of a search, and what it met that is no item."""

    audio_column: str | None = None  # of tables and manifests; None: the usual names
    output: str | None = None  # a folder that is not searched
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)


def find_items(sources: Sequence[str], kind: str = "auto", found: Found | None = None) -> list[Item]:
    """Return the items of all sources, in order, each with a key of its own.

    Raises CorpusError with one line for a source that is missing, empty, or of no known kind.
    """
    found = found or Found()
    items: list[Item] = []
    for place in sources:
        check_not_output(place, found.output)
        try:
            own = list(_find(place, kind if kind != "auto" else kind_of(place), found))
        except OSError as error:
            raise CorpusError(f"{place}: cannot be read ({one_line(error)})") from None
        if not own:
            more = f"; {len(found.left_out)} other files are there" if found.left_out else ""
            raise CorpusError(f"{place}: holds no audio{more}")
        items += own
    return list(with_unique_keys(items))


def _find(place: str, kind: str, found: Found) -> Iterable[Item]:
    module = {"folder": "folder", "manifest": "manifest", "webdataset": "tars", "table": "tables", "lhotse": "cuts"}[kind]
    items: Iterable[Item] = import_module(f".{module}", __package__).find(place, found)
    return items


def check_not_output(place: str, output: str | None) -> None:
    """Raise CorpusError if a source is the output folder, or is inside of it."""
    if output is None or is_url(place) != is_url(output):
        return
    if is_url(place):
        one, other = place.rstrip("/"), output.rstrip("/")
    else:
        one, other = os.path.realpath(place), os.path.realpath(output)
    if one == other or one.startswith(other.rstrip("/") + "/"):
        raise CorpusError(f"{place}: is the output, or inside of it; give another --output")


def kind_of(place: str) -> str:
    """Return the kind of a source, by its name and by what is in a folder. Raises CorpusError if there is no such file."""
    name = place.rstrip("/").split("?")[0].lower()
    if not is_url(place) and not any(c in place for c in "{*?") and not os.path.exists(place):
        raise CorpusError(f"{place}: no such file or folder")
    if not is_url(place) and os.path.isdir(place):
        return _kind_of_folder(Path(place))
    name = name.removesuffix(".gz")
    if name.endswith(".tar"):
        return "webdataset"
    if name.endswith((".parquet", ".arrow")):
        return "table"
    if name.endswith((".jsonl", ".csv", ".tsv", ".json")):
        from .cuts import is_cuts

        return "lhotse" if is_cuts(place) else "manifest"
    return "folder"


def _kind_of_folder(folder: Path) -> str:
    names = sorted(entry.name.lower() for entry in os.scandir(folder))
    if "dataset_info.json" in names or "dataset_dict.json" in names:
        return "table"
    if any(name.startswith("cuts.") and ".jsonl" in name for name in names):
        return "lhotse"
    data = [name for name in names if not name.startswith(".") and (folder / name).is_file()]
    if any(name.endswith(".parquet") for name in data) or any((folder / "data").glob("*.parquet")):
        return "table"
    if "metadata.csv" in names or "metadata.jsonl" in names:
        return "manifest"
    if data and all(name.endswith((".tar", ".json", ".txt", ".md")) for name in data) and data[-1].endswith(".tar"):
        return "webdataset"
    return "folder"
