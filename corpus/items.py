"""The items of a corpus: where each recording is, and what is carried along with it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One recording, or a section of one."""

    key: str  # its name in the corpus: unique, without dots
    place: str  # path or URL of the file that holds it
    part: tuple[Any, ...] = ()  # where in that file: () is all of it, see `audio.py`
    name: str = ""  # for messages; empty: the place
    n_bytes: int = 0  # about; only shards are planned by it
    start: float = 0.0  # seconds
    seconds: float | None = None  # of the section; None: to the end
    channel: int | None = None  # the only one that is read
    columns: dict[str, Any] = field(default_factory=dict)  # carried along
    group: str = ""  # items of one group make one shard, however many they are; empty: no group

    @property
    def source(self) -> str:
        """The place for people and columns: valid Unicode, even if the name of a file is not."""
        return (self.name or self.place).encode("utf-8", "backslashreplace").decode()


def digest(items: Iterable[Item]) -> str:
    """Return a hash of everything that the items say, in order."""
    found = hashlib.sha256()
    for item in items:
        fields = [item.key, item.place, list(item.part), item.n_bytes, item.start, item.seconds]
        fields += [item.channel, item.columns, item.group]
        found.update(json.dumps(fields, sort_keys=True, default=str).encode() + b"\n")
    return found.hexdigest()


def key_for(name: str) -> str:
    """Return a key for the name of a file: without suffix and dots, as WebDataset needs it."""
    stem = os.path.splitext(name)[0]
    try:
        stem = stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half of a character, which JSON may hold and no file name does
        stem = stem.encode("utf-8", "replace").decode()
    text = "".join("_" if c in '.\\<>:"|?*' or unicodedata.category(c)[0] == "C" else c for c in stem)
    parts = [part for part in re.split("/+", text) if part.strip()]
    return "/".join(parts)[-200:] or "item"


def with_unique_keys(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items; a key that occurred before, apart from upper and lower case, gets a number."""
    seen: set[str] = set()
    numbers: dict[str, int] = {}
    for item in items:
        key, folded = item.key, item.key.casefold()
        while key.casefold() in seen:
            numbers[folded] = numbers.get(folded, 1) + 1
            key = f"{item.key}-{numbers[folded]}"
        seen.add(key.casefold())
        yield item if key == item.key else replace(item, key=key)
