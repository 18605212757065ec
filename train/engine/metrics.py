"""metrics.jsonl of a run: one row per line, robust against a crash of the process that writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "metrics.jsonl"
LONGEST_LINE = 1 << 20  # bytes searched for the end of the last complete line


def log_row(folder: Path, row: dict[str, Any]) -> None:
    """Append one row; an incomplete line left by a crash is removed first."""
    with open(folder / NAME, "ab+") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - LONGEST_LINE))
        tail = stream.read()
        if tail and not tail.endswith(b"\n"):
            stream.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
        stream.write(json.dumps(row).encode() + b"\n")


def mean_row(window: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each value over the rows of a window, rounded for the log."""
    return {name: round(sum(row[name] for row in window) / len(window), 5) for name in window[0]}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows in the order of their steps, without incomplete lines and rows that a resumed run wrote again."""
    rows: list[dict[str, Any]] = []
    for line in (folder / NAME).read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or "step" not in row:
            continue
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()
        rows.append(row)
    return rows
