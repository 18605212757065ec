"""What is known about finished shards: a record for each, and the manifest and the list of failures made of all records."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .errors import CorpusError, check_fields, parse_json
from .outputs import hub
from .plan import Plan
from .store import Store, is_url

FOLDER = "records"
MANIFEST, FAILURES = "manifest.json", "failures.jsonl"
Record = dict[str, Any]
ROWS: dict[str, dict[str, type]] = {  # fields of the rows about single recordings; records of older versions lack the rows
    "beyond_full_scale": {"key": str, "samples": int, "peak_db": float},
    "damaged": {"key": str, "damage": str},  # recordings that were encoded in part
}


def record_name(shard: int) -> str:
    """Return the name of a shard's record."""
    return f"{FOLDER}/{shard:06d}.json"


def record_names(store: Store) -> dict[int, str]:
    """Return the names of all records by shard. Other files in their folder, such as copies, are not taken."""
    found = {}
    for name in store.names(FOLDER):
        number = re.fullmatch(rf"{FOLDER}/([0-9]{{6,12}})\.json", name)
        if number and record_name(int(number[1])) == name:
            found[int(number[1])] = name
    return found


def read_records(store: Store) -> dict[int, Record]:
    """Return the records of all finished shards. Raises CorpusError for a damaged one."""
    names = record_names(store)

    def read(shard: int) -> Record:
        try:
            return checked_record(parse_json((store.read(names[shard]) or b"").decode()), shard)
        except (ValueError, TypeError, KeyError):
            name = store.place(names[shard])
            raise CorpusError(f"{name}: is damaged; remove it, and the next run makes its shard again") from None

    if not is_url(store.where):
        found = [read(shard) for shard in names]
    else:
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(read, names))
    return dict(zip(names, found, strict=True))


def checked_record(found: Any, shard: int) -> Record:
    """Return `found` if it is the record of this shard. Raises ValueError, TypeError or KeyError."""
    lists = {"frames": list, "files": list, "failures": list}
    check_fields(found, {"shard": int, "done": int, "failed": int, "seconds": float, **lists})
    if found["shard"] != shard or len(found["frames"]) != found["done"]:
        raise ValueError
    for n_frames in found["frames"]:
        check_fields({"frames": n_frames}, {"frames": int})
    for file in found["files"]:
        check_fields(file, {"name": str, "bytes": int, "sha256": str})
        if file["name"].startswith("/") or ".." in file["name"].split("/"):
            raise ValueError
    for failure in found["failures"]:
        check_fields(failure, {})
    for name, types in ROWS.items():
        for row in found.get(name, []):
            check_fields(row, types)
    record: Record = found
    return record


def is_finished(store: Store, record: Record) -> bool:
    """Return True if all files of a record are there and have the sizes that it says."""
    return all(store.size(file["name"]) == file["bytes"] for file in record["files"])


def manifest_of(about: dict[str, Any], records: Iterable[Record]) -> dict[str, Any]:
    """Return the manifest: what the plan says, with counts, hours, and a checksum for every file."""
    ordered = sorted(records, key=lambda record: int(record["shard"]))
    n_done, n_failed = (sum(record[name] for record in ordered) for name in ("done", "failed"))
    seconds = round(sum(record["seconds"] for record in ordered), 6)
    shards = [{name: record[name] for name in ("shard", "done", "failed", "seconds", "files")} for record in ordered]
    loud, damaged = ([row for record in ordered for row in record.get(name, [])] for name in ROWS)
    loudest = max(loud, key=lambda row: row["peak_db"], default={"key": None, "peak_db": 0.0})
    counts = {"items": about["items"], "done": n_done, "failed": n_failed, "shards": about["shards"]}
    return about | {
        "is_complete": len(ordered) == about["shards"], "counts": counts, "seconds": seconds,
        "hours": round(seconds / 3600, 4),
        "beyond_full_scale": {"recordings": len(loud), "loudest": loudest["key"], "peak_db": loudest["peak_db"]},
        "damaged": damaged,
        "finished": shards,
    }  # fmt: skip


def reading_name(shard: int) -> str:
    """Return the name of the hidden file that says which item of a shard an actor of Ray is reading."""
    return f"{FOLDER}/.{shard:06d}.reading"


def forget_reading(store: Store, shards: Iterable[int]) -> None:
    """Remove what killed actors left of shards that are finished."""
    if is_url(store.where) or not os.path.isdir(f"{store.where}/{FOLDER}"):
        return
    names = {name for name in os.listdir(f"{store.where}/{FOLDER}") if name.endswith(".reading")}
    for shard in shards if names else ():
        store.delete(reading_name(shard))


def write_summary(store: Store, plan: Plan) -> dict[str, Any]:
    """Write the manifest, the failures, and what the format needs beside the shards; return the manifest."""
    while True:
        records = read_records(store)
        forget_reading(store, records)
        found = _write_summary(store, plan, records)
        if record_names(store).keys() == records.keys():  # otherwise another process has finished a shard meanwhile
            return found


def _write_summary(store: Store, plan: Plan, records: dict[int, Record]) -> dict[str, Any]:
    found = manifest_of(plan.about, records.values())
    lines = [json.dumps({"shard": shard, **row}) for shard in sorted(records) for row in records[shard]["failures"]]
    store.write(FAILURES, "".join(f"{line}\n" for line in lines).encode())
    if plan.settings.format == "hf":
        store.write(hub.README, hub.card(found).encode())
    store.write(MANIFEST, (json.dumps(found, indent=1) + "\n").encode())
    return found
