"""The work on one shard: read its items, encode them, write its files, then its record. Every engine calls this."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codec.runtime import open_codec
from ..codec.threads import settle
from .encode import Encoder, Failure
from .items import Item
from .outputs import Row, shards_of
from .records import Record, record_name
from .settings import Settings
from .store import Store, sha256_of

Tell = Callable[[str, Any], None]  # receives ("begin", index of the item) and ("read", (bytes, seconds of audio))


@dataclass(frozen=True)
class Task:
    """What every worker receives once."""

    settings: Settings
    about: dict[str, Any]
    output: str
    batch_seconds: float = 20.0
    device: str = "cpu"
    runtime: str = "auto"
    threads: int | None = 1


class Worker:
    """Holds the codec, and makes shards."""

    def __init__(self, task: Task) -> None:
        settle(task.threads)
        self.task, self.store = task, Store(task.output)
        codec = open_codec(task.settings.model, task.runtime, task.device)
        self.encoder = Encoder(codec, task.settings, task.batch_seconds)
        self.format = shards_of(task.settings.format)

    def make(
        self, shard: int, items: Sequence[Item], tell: Tell = lambda kind, value: None, skip: Mapping[int, str] | None = None
    ) -> Record:
        """Make a shard and its record; return the record.

        `skip` holds a reason for each item that must not be read. The shard's bytes depend only on the items and the
        settings. Raises OSError if they cannot be written.
        """
        skip = skip or {}
        results: list[Any] = [Failure(skip[i]) if i in skip else None for i in range(len(items))]
        wanted = [i for i in range(len(items)) if i not in skip]

        def read(i: int, seconds: float) -> None:
            tell("read", (items[wanted[i]].n_bytes, seconds))

        for i, result in self.encoder([items[i] for i in wanted], lambda i: tell("begin", wanted[i]), read):
            results[wanted[i]] = result
        rows = [Row(item, found) for item, found in zip(items, results, strict=True) if not isinstance(found, Failure)]
        failures = [
            {"key": item.key, "source": item.source, "reason": found.reason}
            for item, found in zip(items, results, strict=True)
            if isinstance(found, Failure)
        ]
        files = self._write(shard, rows)
        seconds = round(sum(row.seconds for row in rows), 6)
        record = {
            "shard": shard, "done": len(rows), "failed": len(failures), "seconds": seconds,
            "frames": [row.n_frames for row in rows], "files": files, "failures": failures,
            "beyond_full_scale": self._beyond_full_scale([items[i] for i in wanted]),
            "damaged": [{"key": items[wanted[i]].key, "damage": lost} for i, lost in sorted(self.encoder.damage.items())],
        }  # fmt: skip
        self.store.write(record_name(shard), (json.dumps(record) + "\n").encode())
        return record

    def _beyond_full_scale(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return a row for each of the items just encoded that has samples beyond full scale."""
        return [
            {"key": items[i].key, "samples": overs.n_samples, "peak_db": round(overs.peak_db, 2)}
            for i, overs in sorted(self.encoder.overs.items())
        ]

    def _write(self, shard: int, rows: list[Row]) -> list[dict[str, Any]]:
        """Write a shard's files; returns name, size and hash of each. There are none if every item failed."""
        if not rows:
            return []
        found: list[dict[str, Any]] = []

        @contextlib.contextmanager
        def open_new(name: str) -> Iterator[Path]:
            with self.store.new(name) as path:
                yield path
                found.append({"name": name, "bytes": path.stat().st_size, "sha256": sha256_of(path)})

        names = self.format.files(shard, self.task.about["shards"])
        self.format.write(open_new, names, rows, self.task.about)
        return sorted(found, key=lambda file: names.index(file["name"]))
