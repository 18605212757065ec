"""Tables: parquet files, and folders of Hugging Face `datasets` (of the hub, or of `save_to_disk`), with a column of audio.

The column holds bytes, a path, or a struct of both. All other columns are carried along.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...codec.errors import AudioError
from ..errors import CorpusError, library, parse_json
from ..items import Item, key_for
from ..store import filesystem, is_url

if TYPE_CHECKING:
    from . import Found

NAMES = ("audio", "path", "file", "audio_filepath", "wav", "flac", "mp3", "speech", "sound")


def find(place: str, found: Found) -> Iterator[Item]:
    """Yield the rows of tables. Raises CorpusError if one cannot be read or has no column of audio."""
    for path in files_of(place):
        column, stem = None, os.path.splitext(os.path.basename(path))[0]
        number = 0
        for group, (names, rows, n_bytes) in enumerate(groups(path, found.audio_column)):
            column = names
            for i, columns in enumerate(rows):
                key, name = f"{key_for(stem)}-{number:07d}", f"{path}, row {number}"
                yield Item(key, path, ("row", group, i, column), name, n_bytes, columns=columns)
                number += 1


def files_of(place: str) -> list[str]:
    """Return the files of a table in order."""
    from .tars import expand

    if not is_url(place) and os.path.isdir(place):
        splits, state = (os.path.join(place, name) for name in ("dataset_dict.json", "state.json"))
        if os.path.exists(splits):
            names = _listed(splits, lambda found: found["splits"])
            return [path for name in names for path in files_of(os.path.join(place, name))]
        if os.path.exists(state):
            return [
                os.path.join(place, name)
                for name in _listed(state, lambda found: [p["filename"] for p in found["_data_files"]])
            ]
    return expand(place, ".parquet")


def _listed(path: str, names_in: Callable[[Any], Any]) -> list[str]:
    """Return the names that a JSON file of `datasets` lists, where `names_in` finds them. Raises CorpusError."""
    try:
        with open(path, encoding="utf-8") as file:
            names = names_in(parse_json(file.read()))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its names are not a list")
    except (ValueError, TypeError, LookupError) as error:
        raise CorpusError(f"{path}: is not as `datasets` writes it ({type(error).__name__}: {error})") from None
    return names


def groups(path: str, audio_column: str | None) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """Yield (audio column, other columns of every row, bytes per row) for each group of rows."""
    table = open_table(path)
    column = find_column(path, table.schema, audio_column)
    others = [name for name in table.schema.names if name != column]
    for i in range(table.n_groups):
        rows = table.group(i, others).to_pylist() if others else [{}] * table.n_rows(i)
        yield column, rows, table.n_bytes(i) // max(len(rows), 1)


class Parquet:
    """A parquet file."""

    def __init__(self, path: str) -> None:
        parquet = library("pyarrow.parquet", "corpus", "parquet")
        if is_url(path):
            fs, inside = filesystem(path)
            self._file = parquet.ParquetFile(fs.open(inside, "rb"))
        else:
            self._file = parquet.ParquetFile(path, memory_map=True)
        self.schema, self.n_groups = self._file.schema_arrow, self._file.num_row_groups

    def group(self, i: int, columns: list[str]) -> Any:
        """Return columns of a group of rows."""
        return self._file.read_row_group(i, columns=columns)

    def n_rows(self, i: int) -> int:
        """Return the number of rows of a group."""
        return int(self._file.metadata.row_group(i).num_rows)

    def n_bytes(self, i: int) -> int:
        """Return the size of a group."""
        return int(self._file.metadata.row_group(i).total_byte_size)


class Arrow:
    """A stream of Arrow batches, as `save_to_disk` of `datasets` writes it."""

    def __init__(self, path: str) -> None:
        pa = library("pyarrow", "corpus", "arrow")
        self._batches = list(pa.ipc.open_stream(pa.memory_map(path)))
        self.schema, self.n_groups = pa.ipc.open_stream(pa.memory_map(path)).schema, len(self._batches)

    def group(self, i: int, columns: list[str]) -> Any:
        """Return columns of a batch."""
        return self._batches[i].select(columns)

    def n_rows(self, i: int) -> int:
        """Return the number of rows of a batch."""
        return int(self._batches[i].num_rows)

    def n_bytes(self, i: int) -> int:
        """Return the size of a batch."""
        return int(self._batches[i].nbytes)


@lru_cache(maxsize=2)
def open_table(path: str) -> Parquet | Arrow:
    """Open a table, and keep it open. Raises CorpusError if it is none."""
    pa = library("pyarrow", "corpus", "parquet")
    try:
        return Arrow(path) if path.endswith(".arrow") else Parquet(path)
    except (pa.ArrowException, FileNotFoundError) as error:
        raise CorpusError(f"{path}: is not a table that can be read ({str(error).splitlines()[0]})") from None


def find_column(path: str, schema: Any, wanted: str | None) -> str:
    """Return the name of the column of audio. Raises CorpusError if there is none."""
    pa = library("pyarrow", "corpus", "parquet")

    def is_audio(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    names = list(schema.names)
    if wanted:
        if wanted in names:
            return wanted
        raise CorpusError(f"{path}: has no column {wanted!r} (has: {', '.join(names)})")
    found = [name for name in names if is_audio(schema.field(name).type)] or [name for name in NAMES if name in names]
    if not found:
        raise CorpusError(f"{path}: has no column of audio (has: {', '.join(names)}); see --audio-column")
    return found[0]


@lru_cache(maxsize=1)
def _cells(path: str, group: int, column: str) -> Any:
    return open_table(path).group(group, [column]).column(0)


def cell_bytes(path: str, group: int, row: int, column: str) -> bytes:
    """Return the bytes of a cell; a path in it is read, relative to the table's folder. Raises AudioError for an empty cell."""
    value = _cells(path, group, column)[row].as_py()
    data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(data, str):
        data, name = None, data
    if data:
        return bytes(data)
    if not name:
        raise AudioError(f"{path}: the cell is empty")
    where = name if is_url(name) or os.path.isabs(name) else f"{os.path.dirname(path)}/{name}"
    if is_url(where):
        fs, inside = filesystem(where)
        return bytes(fs.cat_file(inside))
    with open(where, "rb") as file:
        return file.read()
