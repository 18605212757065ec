"""Parquet shards: a row per item, with codes as list<list<uint16>> [R][T], and every carried column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import CorpusError, library
from .rows import Row, carried_name

MAX_CODES = 2**31 - 1  # Arrow's lists have 32-bit offsets
ROWS_PER_GROUP = 100  # few, so that a reader of single rows decodes little


def files(shard: int, n_shards: int) -> list[str]:
    """Return the name of a shard."""
    return [f"shard-{shard:06d}.parquet"]


def write(open_new: Callable[[str], Any], names: list[str], rows: list[Row], about: dict[str, Any]) -> None:
    """Write a table. Raises MissingLibrary without pyarrow."""
    parquet = library("pyarrow.parquet", "corpus", "parquet")
    table = table_of(rows, about["columns"])
    with open_new(names[0]) as path:
        parquet.write_table(table, path, compression="zstd", row_group_size=ROWS_PER_GROUP)


def table_of(rows: list[Row], types: dict[str, str]) -> Any:
    """Return rows as an Arrow table, whose schema depends only on the types of the carried columns."""
    pa = library("pyarrow", "corpus", "parquet")
    facts = [row.facts() for row in rows]
    own = {
        "key": pa.string(), "source": pa.string(), "start": pa.float64(), "seconds": pa.float64(), "frames": pa.int64(),
        "frame_rate": pa.float64(), "token_space": pa.string(), "model": pa.string(), "sample_rate": pa.int32(),
        "channels": pa.int32(), "channel_coding": pa.string(), "n_codebooks": pa.list_(pa.int32()),
    }  # fmt: skip
    columns = {name: pa.array([fact[name] for fact in facts], kind) for name, kind in own.items()}
    columns["codes"] = _codes(pa, [row.tokens.codes for row in rows])
    kinds = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    carried = [row.carried(types) for row in rows]
    for name, kind in types.items():
        shown = carried_name(name)
        values = [each[shown] for each in carried]
        if kind in ("str", "json"):
            values = [None if v is None else v.encode("utf-8", "backslashreplace").decode() for v in values]
        columns[shown] = pa.array(values, kinds.get(kind, pa.string()))
    return pa.table(columns)


def _codes(pa: Any, arrays: list[np.ndarray]) -> Any:
    """Return codes [R, T] of every row as list<list<uint16>>, without a Python object per code."""
    lengths = [codes.shape[1] for codes in arrays for _ in range(len(codes))]
    inner = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    outer = np.concatenate([[0], np.cumsum([len(codes) for codes in arrays], dtype=np.int64)]).astype(np.int32)
    if inner[-1] > MAX_CODES:
        raise CorpusError(f"a parquet shard holds at most {MAX_CODES} codes, not {inner[-1]}; give a smaller --shard-mb")
    flat = np.concatenate([np.zeros(0, np.uint16), *(codes.reshape(-1) for codes in arrays)])
    lists = pa.ListArray.from_arrays(pa.array(inner.astype(np.int32)), pa.array(flat.astype(np.uint16)))
    return pa.ListArray.from_arrays(pa.array(outer), lists)
