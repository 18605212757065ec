"""Read the result file of a blind test strictly: format `ecdc-listening-test`, version 1.

    {"format": "ecdc-listening-test", "version": 1, "kind": "mushra" | "abx", "page": <64 hex digits>,
     "listener": <text, may be empty>, "started": <ISO 8601>, "trials": [...]}

with trials {"clip", "scores": {codec or "reference": 0..100}, "seconds"} for mushra and
{"clip", "codec", "correct", "seconds"} for abx. `page` is the SHA-256 of the page's sounds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..format.errors import ArgumentError
from .page.check import MAX_NAME, REFERENCE

MAX_BYTES = 4 * 2**20
MAX_TRIALS = 1000
MAX_SECONDS = 1_000_000


@dataclass(frozen=True)
class MushraTrial:
    """Scores 0..100 for one clip, including that of the hidden reference."""

    clip: str
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class AbxTrial:
    """One ABX answer; `correct` is True if X was identified."""

    clip: str
    codec: str
    correct: bool
    seconds: float


@dataclass(frozen=True)
class Session:
    """One listener's test; all its trials are of `kind`."""

    kind: str
    page: str
    listener: str
    started: str
    trials: tuple[MushraTrial, ...] | tuple[AbxTrial, ...]


def read_session(path: str | Path) -> Session:
    """Read a result file; raises ValueError with the file and the faulty field, OSError if it cannot be opened."""
    if not Path(path).is_file() and Path(path).exists():
        raise ArgumentError(f"{path}: is not a file")
    with open(path, "rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ArgumentError(f"{path}: larger than {MAX_BYTES // 2**20} MB, which no result file is")
    try:
        return parse_session(json.loads(data, object_pairs_hook=_object, parse_constant=_constant))
    except RecursionError:
        raise ArgumentError(f"{path}: nested too deeply") from None
    except UnicodeDecodeError:
        raise ArgumentError(f"{path}: is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ArgumentError(f"{path}: is no JSON: {error}") from None
    except ValueError as error:
        raise ArgumentError(f"{path}: {error}") from None


def parse_session(data: Any) -> Session:
    """Check a decoded result file and return its session; raises ValueError that names the field."""
    _keys("the file", data, ("format", "version", "kind", "page", "listener", "started", "trials"))
    _one_of("format", data["format"], ("ecdc-listening-test",))
    _one_of("version", data["version"], (1,))
    kind = _one_of("kind", data["kind"], ("mushra", "abx"))
    page = _text("page", data["page"])
    if not re.fullmatch(r"[0-9a-f]{64}", page):
        raise ArgumentError(f"page: wanted 64 hex digits, got {page[:80]!r}")
    started = _text("started", data["started"])
    try:
        datetime.fromisoformat(started)
    except ValueError:
        raise ArgumentError(f"started: wanted an ISO 8601 time, got {started[:80]!r}") from None
    if not isinstance(data["trials"], list) or not 0 < len(data["trials"]) <= MAX_TRIALS:
        raise ArgumentError(f"trials: wanted a list of 1 to {MAX_TRIALS} trials, got {_short(data['trials'])}")
    parse = _mushra if kind == "mushra" else _abx
    trials: Any = tuple(parse(f"trials[{place}]", trial) for place, trial in enumerate(data["trials"]))
    if kind == "mushra":
        _once(trial.clip for trial in trials)
    return Session(kind, page, _text("listener", data["listener"], empty=True).strip(), started, trials)


def _mushra(where: str, data: Any) -> MushraTrial:
    _keys(where, data, ("clip", "scores", "seconds"))
    scores = data["scores"]
    if not isinstance(scores, dict) or REFERENCE not in scores or len(scores) < 2:
        raise ArgumentError(f"{where}.scores: wanted scores of {REFERENCE!r} and of at least one codec")
    names = {_text(f"{where}.scores", name): _number(f"{where}.scores[{name!r}]", score, 100) for name, score in scores.items()}
    return MushraTrial(_text(f"{where}.clip", data["clip"]), names, _number(f"{where}.seconds", data["seconds"], MAX_SECONDS))


def _abx(where: str, data: Any) -> AbxTrial:
    _keys(where, data, ("clip", "codec", "correct", "seconds"))
    if not isinstance(data["correct"], bool):
        raise ArgumentError(f"{where}.correct: wanted true or false, got {_short(data['correct'])}")
    clip, codec = (_text(f"{where}.{key}", data[key]) for key in ("clip", "codec"))
    return AbxTrial(clip, codec, data["correct"], _number(f"{where}.seconds", data["seconds"], MAX_SECONDS))


def _once(clips: Iterable[str]) -> None:
    found: set[str] = set()
    for place, clip in enumerate(clips):
        if clip in found:
            raise ArgumentError(f"trials[{place}].clip: {clip[:80]!r} is there twice")
        found.add(clip)


def _keys(where: str, data: Any, wanted: tuple[str, ...]) -> None:
    if not isinstance(data, dict):
        raise ArgumentError(f"{where}: wanted an object, got {_short(data)}")
    for key in wanted:
        if key not in data:
            raise ArgumentError(f"{where}: {key!r} is missing")
    for key in data:
        if key not in wanted:
            raise ArgumentError(f"{where}: {key[:80]!r} is unknown")


def _one_of(where: str, value: Any, known: tuple[Any, ...]) -> Any:
    if isinstance(value, bool | float) or value not in known:
        raise ArgumentError(f"{where}: wanted {' or '.join(map(repr, known))}, got {_short(value)}")
    return value


def _text(where: str, value: Any, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty) or len(value) > MAX_NAME:
        raise ArgumentError(f"{where}: wanted text of {0 if empty else 1} to {MAX_NAME} characters, got {_short(value)}")
    return value


def _number(where: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ArgumentError(f"{where}: wanted a number of 0 to {most}, got {_short(value)}")
    return float(value)


def _short(value: Any) -> str:
    return repr(value)[:80]


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ArgumentError(f"{key[:80]!r} is there twice")
        found[key] = value
    return found


def _constant(name: str) -> float:
    raise ArgumentError(f"{name} is no JSON number")
