"""Lhotse Shar: cuts.N.jsonl.gz, and codes.N.tar with the codes of every cut as a TemporalArray [T, R].

Lhotse itself is not imported here, because it brings PyTorch into every worker. The tests open the result with it.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np

from ..store import is_url
from .rows import Row, carried_name
from .webdataset import add

FOLDER = "shar"  # of its own, because Lhotse takes every file beside the cuts for a field of them


def files(shard: int, n_shards: int) -> list[str]:
    """Return the names of a shard's files."""
    return [f"{FOLDER}/cuts.{shard:06d}.jsonl.gz", f"{FOLDER}/codes.{shard:06d}.tar"]


def write(open_new: Callable[[str], Any], names: list[str], rows: list[Row], about: dict[str, Any]) -> None:
    """Write the cuts and their codes."""
    cuts_name, codes_name = names
    with open_new(codes_name) as path, tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            stream = io.BytesIO()
            np.save(stream, np.ascontiguousarray(row.tokens.codes.T), allow_pickle=False)
            cut_id = cut_of(row)["id"]
            add(tar, f"{cut_id}.npy", stream.getvalue())
            add(tar, f"{cut_id}.json", (json.dumps(array_of(row)) + "\n").encode())
    with open_new(cuts_name) as path, open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for row in rows:
            file.write(json.dumps(cut_of(row), default=str).encode() + b"\n")


def array_of(row: Row) -> dict[str, Any]:
    """Return the manifest of a cut's TemporalArray."""
    codes = row.tokens.codes
    array = {"storage_type": "shar", "storage_path": "", "storage_key": "", "shape": [codes.shape[1], codes.shape[0]]}
    return {
        "array": array, "temporal_dim": 0, "frame_shift": 1 / float(row.tokens.header.frame_rate), "start": 0,
    }  # fmt: skip


def cut_of(row: Row) -> dict[str, Any]:
    """Return a cut: that of the source if it is one, else one of the whole recording. Facts of the codes are custom fields."""
    columns = dict(row.item.columns)
    facts = row.facts()
    custom = {name: facts[name] for name in ("token_space", "model", "frame_rate", "channel_coding", "n_codebooks")}
    if isinstance(columns.get("cut"), dict):
        cut = dict(columns["cut"])
        return cut | {"custom": (cut.get("custom") or {}) | custom}
    custom |= {carried_name(name): value for name, value in columns.items()}
    header = row.tokens.header
    ids = list(range(header.channels))
    start = row.item.start
    source = {"type": "url" if is_url(row.item.place) else "file", "channels": ids, "source": row.item.source}
    length = (row.tokens.original_n_samples or 0) + round(start * header.original_sample_rate)
    recording = {
        "id": row.item.key, "sources": [source], "sampling_rate": header.original_sample_rate, "num_samples": length,
        "duration": length / header.original_sample_rate, "channel_ids": ids,
    }  # fmt: skip
    supervisions = []
    if isinstance(text := columns.get("text"), str):
        own = {"id": row.item.key, "recording_id": row.item.key, "start": 0.0, "duration": row.seconds}
        supervisions = [own | {"channel": ids, "text": text}]
    return {
        "id": row.item.key, "start": start, "duration": row.seconds, "channel": ids, "supervisions": supervisions,
        "recording": recording, "custom": custom, "type": "MultiCut",
    } if len(ids) > 1 else {
        "id": row.item.key, "start": start, "duration": row.seconds, "channel": 0,
        "supervisions": [s | {"channel": 0} for s in supervisions], "recording": recording, "custom": custom, "type": "MonoCut",
    }  # fmt: skip
