"""Describe and check a corpus of tokens. No model is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from ..format.errors import EcdcError
from .errors import one_line
from .plan import read_about
from .records import Record, manifest_of, read_records
from .store import Store, sha256_of


def describe_corpus(where: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the manifest of a corpus, also of one that is not finished. Raises CorpusError if it is none."""
    store = Store(where)
    return manifest_of(read_about(store), read_records(store).values())


def verify_corpus(where: str | os.PathLike[str], progress: Callable[[str], None] = lambda name: None) -> list[str]:
    """Check every byte of a corpus; return a line for everything that is wrong. `progress` receives each file's name.

    It checks the checksums, that every shard is there and belongs to the corpus, that its rows are those of its record,
    and that all codes are in range and of the corpus's token space. Raises CorpusError if it is no corpus.
    """
    store = Store(where)
    about, records = read_about(store), read_records(store)
    problems = []
    n_missing = about["shards"] - sum(0 <= i < about["shards"] for i in records)
    if n_missing:
        problems.append(f"{n_missing} of {about['shards']} shards are not made yet; give the same command again")
    known = set()
    for record in records.values():
        if record["shard"] >= about["shards"]:
            problems.append(f"records/{record['shard']:06d}.json: is of no shard of this corpus")
        for file in record["files"]:
            known.add(file["name"])
            progress(file["name"])
        problems += [f"{name}: {line}" for name, line in check_record(store, about, record)]
    for folder in sorted({"", *(name.rpartition("/")[0] for name in known)}):
        for name in store.names(folder):
            if name not in known and name.endswith((".tar", ".parquet", ".jsonl.gz")):
                problems.append(f"{name}: has no record; remove it, or give the same command again")
    return problems


def check_record(store: Store, about: dict[str, Any], record: Record) -> Iterator[tuple[str, str]]:
    """Yield (file, problem) for a shard."""
    for file in record["files"]:
        try:
            with store.local(file["name"]) as path:
                if sha256_of(path) != file["sha256"]:
                    yield file["name"], "its checksum differs; remove its record and give the same command again"
                    return
        except OSError as error:
            yield file["name"], f"cannot be read ({one_line(error)})"
            return
    if record["files"]:
        from .reading import Shard

        try:
            n_rows = Shard.open(store, about, record["files"]).verify()
        except (EcdcError, OSError) as error:
            yield record["files"][-1]["name"], one_line(error)
            return
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # strange rows, under a checksum that is right
            text = f"holds rows that ecdc does not write ({type(error).__name__}: {one_line(error)})"
            yield record["files"][-1]["name"], text
            return
        if n_rows != record["done"]:
            yield record["files"][-1]["name"], f"holds {n_rows} recordings, its record says {record['done']}"
