"""Growing int16 memory maps, one per group and split, with an index that always agrees with them.

Such a folder holds `<group>.<split>.i16` (little-endian, files concatenated, with the channels
of a file interleaved), `index.jsonl` with one row per file, `skipped.jsonl` with the unusable
files, and `format.json` with the sample rate. A file's audio is written before its row of the
index. Opening a folder cuts off audio without a row, so an interrupted run continues by
appending.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...format.errors import ArgumentError

FIRST_RATE = 24_000  # Hz, of old packs without format.json
INDEX, SKIPPED = "index.jsonl", "skipped.jsonl"
FLUSH_SAMPLES = 20_000_000  # int16 values between two writes of the index
Row = dict[str, Any]


def read_index(folder: Path, name: str = INDEX) -> list[Row]:
    """Return the rows of a folder's index or of its list of skipped files, without an incomplete last row.

    Raises ArgumentError for a row that is damaged.
    """
    path = folder / name
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "name" not in row:
                raise ValueError
        except ValueError:
            raise ArgumentError(f"{path}: line {number} is damaged; delete {folder} and make it again") from None
        rows.append(row)
    return rows


def sample_rate_of(folder: Path) -> int:
    """Return the sample rate (Hz) of a packed folder; raises ArgumentError if its description is damaged."""
    path = folder / "format.json"
    try:
        return int(json.loads(path.read_text())["sample_rate"]) if path.exists() else FIRST_RATE
    except (ValueError, TypeError, KeyError):
        raise ArgumentError(f"{path}: is damaged; delete {folder} and make it again") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write to `folder`; others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class AudioMaps:
    """A folder of memory maps that files are appended to. Use it as a context manager, under `locked`."""

    def __init__(self, folder: Path, sample_rate: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.sample_rate = folder, sample_rate
        self.rows = read_index(folder)
        self.names = {row["name"] for row in self.rows + read_index(folder, SKIPPED)}
        self._ends: Counter[str] = Counter()  # int16 values per map
        for row in self.rows:
            key = f"{row['group']}.{row['split']}"
            self._ends[key] = max(self._ends[key], row["start"] + row["length"] * row.get("channels", 1))
        self._streams: dict[str, BinaryIO] = {}
        self._pending: dict[str, list[Row]] = {INDEX: [], SKIPPED: []}
        self._waiting = 0

    def __enter__(self) -> AudioMaps:
        self._cut_maps()
        (self.folder / "format.json").write_text(json.dumps({"sample_rate": self.sample_rate}) + "\n")
        for path in (self.folder / name for name in self._pending):
            whole = path.read_bytes() if path.exists() else b""
            if not whole.endswith(b"\n"):
                path.write_bytes(whole[: whole.rfind(b"\n") + 1])
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()
        for stream in self._streams.values():
            stream.close()

    def append(self, row: Row, audio: NDArray[np.int16]) -> None:
        """Append audio [N, C]; `row` describes it and names its group and split."""
        key = f"{row['group']}.{row['split']}"
        values = audio.ravel().astype(np.float32) / np.float32(32768)
        rms = float(np.sqrt(np.dot(values, values) / max(1, len(values))))
        place = {"start": self._ends[key], "length": len(audio), "channels": audio.shape[1], "rms": round(rms, 5)}
        self._stream(key).write(audio.astype("<i2").tobytes())
        self._ends[key] += audio.size
        self.rows.append(row | place)
        self.names.add(row["name"])
        self._pending[INDEX].append(row | place)
        self._waiting += audio.size
        if self._waiting > FLUSH_SAMPLES:
            self.flush()

    def skip(self, name: str, reason: str) -> None:
        """Record that a file is unusable, and why."""
        self.names.add(name)
        self._pending[SKIPPED].append({"name": name, "reason": reason})

    def flush(self) -> None:
        """Write what is pending: first the audio, then its rows."""
        for audio in self._streams.values():
            audio.flush()
        for name, rows in self._pending.items():
            with open(self.folder / name, "ab") as stream:
                stream.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            rows.clear()
        self._waiting = 0

    def _cut_maps(self) -> None:
        """Cut off audio without a row. Raises ValueError if there are rows without audio."""
        for key in self._ends:
            path = self.folder / f"{key}.i16"
            if not path.exists() or path.stat().st_size < 2 * self._ends[key]:
                raise ArgumentError(f"{path}: shorter than index.jsonl says; delete {self.folder} and make it again")
        for path in self.folder.glob("*.i16"):
            if path.stat().st_size > 2 * self._ends[path.stem]:
                os.truncate(path, 2 * self._ends[path.stem])

    def _stream(self, key: str) -> BinaryIO:
        if key not in self._streams:
            self._streams[key] = open(self.folder / f"{key}.i16", "ab")  # noqa: SIM115 - closed by __exit__
        return self._streams[key]
