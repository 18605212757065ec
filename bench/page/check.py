"""Checks of a page's content, made before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...format.errors import ArgumentError

if TYPE_CHECKING:
    from . import Page, Sound

REFERENCE = "reference"  # the original's name in result files
SAMPLE_RATES = range(8000, 96_001)  # Hz, rates that every browser can play without resampling
MAX_NAME = 1000  # characters; the limit of result files too
OTHER_KEYS = ("clip", "codec", "kbps", "why")


def check_page(page: Page) -> None:
    """Raise ValueError for the first fault found: names, lengths, rates, unknown clips or codecs, NaN."""
    coders = distinct("codec", (coder.name for coder in page.coders), (REFERENCE,))
    clips = distinct("clip", (sound.name for sound in page.sounds))
    keys = distinct("metric", (metric.key for metric in page.metrics), OTHER_KEYS)
    if not clips:
        raise ArgumentError("a page wants at least one clip")
    for sound in page.sounds:
        check_sound(sound, coders)
    for coder in page.coders:
        check_number(f"codec {coder.name!r}: kbps", coder.kbps)
    for place, row in enumerate(page.rows):
        check_row(f"rows[{place}]", row, keys, {"clip": clips, "codec": coders}, are_means=False)
    for place, row in enumerate(page.summary):
        check_row(f"summary[{place}]", row, keys, {"codec": coders}, are_means=True)


def distinct(what: str, names: Iterable[str], reserved: tuple[str, ...] = ()) -> set[str]:
    """Return the set of names; raises ValueError if one is empty, too long, duplicate or reserved."""
    found: set[str] = set()
    for name in names:
        faults = {
            "empty": not name,
            "too long": len(name) > MAX_NAME,
            "there twice": name in found,
            "reserved": name in reserved,
        }
        for fault, is_there in faults.items():
            if is_there:
                raise ArgumentError(f"{what} {name[:80]!r}: the name is {fault}")
        found.add(name)
    return found


def check_sound(sound: Sound, coders: set[str]) -> None:
    """Raise ValueError unless a clip has known codecs, a playable rate, and finite samples [N] of equal length N > 0."""
    if sound.sample_rate not in SAMPLE_RATES:
        limits = f"{SAMPLE_RATES.start}..{SAMPLE_RATES.stop - 1} Hz"
        raise ArgumentError(f"clip {sound.name!r}: browsers play {limits}, not {sound.sample_rate}")
    shape = np.shape(sound.reference)
    if len(shape) != 1 or not shape[0]:
        raise ArgumentError(f"clip {sound.name!r}: wanted samples [N], got shape {shape}")
    for name, signal in {REFERENCE: sound.reference, **sound.decoded}.items():
        where = f"clip {sound.name!r}, {name!r}"
        if name != REFERENCE and name not in coders:
            raise ArgumentError(f"{where}: not among the codecs of the page")
        if np.shape(signal) != shape:
            raise ArgumentError(f"{where}: shape {np.shape(signal)} differs from the reference's {shape}")
        if not np.isfinite(signal).all():
            raise ArgumentError(f"{where}: samples are not finite")


def check_row(where: str, row: Mapping[str, Any], keys: set[str], names: Mapping[str, set[str]], are_means: bool) -> None:
    """Raise ValueError unless a row has known names and finite metrics: None, a number, or [mean, half interval]."""
    for key, known in names.items():
        if row.get(key) not in known:
            raise ArgumentError(f"{where}: {key} {row.get(key)!r} is not on the page")
    check_number(f"{where}: kbps", row.get("kbps"))
    for key in keys:
        value = row.get(key)
        if are_means and value is not None and np.shape(value) != (2,):
            raise ArgumentError(f"{where}: {key} wants [mean, half interval], got {value!r}")
        for number in value if are_means and value is not None else [value]:
            check_number(f"{where}: {key}", number)


def check_number(where: str, value: Any) -> None:
    """Raise ValueError unless `value` is None or a finite number."""
    if value is not None and not math.isfinite(value):
        raise ArgumentError(f"{where} is {value}; give a finite number, or None and a reason")
