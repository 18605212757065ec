"""Manifests: JSONL, CSV or TSV (also .gz), a recording per line. All columns but the path are carried along.

With a column `offset` or `start`, a line is a section of its file, `duration` seconds long. Paths are relative to the
manifest's folder.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import CorpusError, parse_json
from ..items import Item, key_for
from ..store import filesystem, is_url

if TYPE_CHECKING:
    from . import Found

PATHS = ("path", "audio_filepath", "file_name", "audio", "file", "filename", "wav")
STARTS = ("offset", "start")
BYTES_PER_SECOND = 64_000  # a guess, for files whose size is not known


def find(place: str, found: Found) -> Iterator[Item]:
    """Yield the recordings of a manifest. Raises CorpusError with the line that is wrong, and if no file exists at all."""
    if not is_url(place) and os.path.isdir(place):
        names = (os.path.join(place, name) for name in ("metadata.jsonl", "metadata.csv"))
        place = next((name for name in names if os.path.exists(name)), place)
    folder = place.rpartition("/")[0] if is_url(place) else os.path.dirname(place)
    n_there, first_missing = 0, ""
    for number, row in read_rows(place):
        item = _item(f"{place}, line {number}", row, folder, found.audio_column)
        is_there = item.n_bytes > 0
        n_there += is_there
        first_missing = first_missing or ("" if is_there else item.place)
        yield item
    if first_missing and not n_there:
        raise CorpusError(f"{place}: none of its files exists; the first is {first_missing}")


def read_rows(place: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, columns) of a manifest. Raises CorpusError for a line that is not what the name promises."""
    name = place.lower().removesuffix(".gz")
    with open_text(place) as lines:
        try:
            if name.endswith((".csv", ".tsv")):
                reader = csv.DictReader(lines, delimiter="\t" if name.endswith(".tsv") else ",")
                for row in reader:
                    if None in row or None in row.values():
                        raise CorpusError(f"{place}, line {reader.line_num}: has more or fewer columns than the first line")
                    yield reader.line_num, {str(key): value for key, value in row.items()}
                return
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = _parsed(f"{place}, line {number}", line)
                    if not isinstance(row, dict):
                        raise CorpusError(f"{place}, line {number}: must be a JSON object")
                    yield number, row
        except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CorpusError(f"{place}: is not a manifest ({error})") from None


def _parsed(where: str, line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise CorpusError(f"{where}: is not JSON ({error})") from None


def open_text(place: str) -> io.TextIOBase:
    """Open a text file, local or by URL, also if it is compressed."""
    raw: Any
    if is_url(place):
        fs, path = filesystem(place)
        raw = fs.open(path, "rb")
    else:
        raw = open(place, "rb")  # noqa: SIM115 - closed with the text stream
    return io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if place.endswith(".gz") else raw, encoding="utf-8-sig", newline="")


def _item(where: str, row: dict[str, Any], folder: str, column: str | None) -> Item:
    names = [column] if column else [name for name in PATHS if name in row]
    if not names or names[0] not in row:
        wanted = column or PATHS[0]
        raise CorpusError(f"{where}: has no column {wanted!r} (has: {', '.join(map(str, row)) or 'none'}); see --audio-column")
    given = row[names[0]]
    if not isinstance(given, str) or not given:
        raise CorpusError(f"{where}: {names[0]} must be a path, got {given!r:.80}")
    path = given if is_url(given) or os.path.isabs(given) else f"{folder}/{given}" if folder else given
    start = next((number_of(where, name, row[name]) for name in STARTS if row.get(name) not in (None, "")), None)
    duration = number_of(where, "duration", row["duration"]) if row.get("duration") not in (None, "") else None
    columns = {name: value for name, value in row.items() if name != names[0]}
    n_bytes = round((duration or 10.0) * BYTES_PER_SECOND) if is_url(path) else _size(path)
    if start is None:
        return Item(key_for(os.path.basename(given) if os.path.isabs(given) else given), path, n_bytes=n_bytes, columns=columns)
    key = f"{key_for(os.path.basename(given))}-{round(start * 1000):08d}"
    n_bytes = min(n_bytes, round((duration or 10.0) * BYTES_PER_SECOND))
    name = f"{path} from {start:g} s"
    return Item(key, path, name=name, n_bytes=n_bytes, start=start, seconds=duration, columns=columns)


def number_of(where: str, name: str, value: Any) -> float:
    """Return a time in seconds. Raises CorpusError if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e9:
        raise CorpusError(f"{where}: {name} must be seconds, got {value!r:.80}")
    return number


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0
