"""Masters at 48 kHz, kept once, and packs at the rate of a recipe.

Both are folders of memory maps (see memory_maps.py). Masters hold one or two channels as recorded,
packs hold one. Reading a pack needs no decoding. A window at a random position samples files by
their duration, and short words follow each other like phrases.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from ...format.errors import ArgumentError
from .decode import MIN_PEAK, Clip, decode, peak_of, to_int16
from .memory_maps import INDEX, SKIPPED, AudioMaps, Row, locked, read_index, sample_rate_of
from .sources import Source, is_validation, validation_names

MASTER_RATE = 48_000  # Hz
SAMPLE_RATE = 24_000  # Hz, default of a pack
FEW_FILES = 100  # decoded without more processes
FULL_BAND_HZ = 16_500  # speech with less is not full-band: MP3s end at 16 kHz
FULL_BAND_SHARE = 0.75  # or with less than this share of the pack's own bandwidth
Report = Callable[[str], object]


def build_masters(sources: Iterable[Source], folder: Path, report: Report = print, jobs: int | None = None) -> None:
    """Decode `sources` into masters. Files that are already there, or were found unusable, are skipped."""
    with locked(folder), AudioMaps(folder, MASTER_RATE) as maps:
        added = _append_all(maps, list(sources), 2, is_validation, report, jobs)
    if added:
        report_hours(folder, report)


def pack_sources(
    sources: Iterable[Source], folder: Path, report: Report = print, sample_rate: int = SAMPLE_RATE, jobs: int | None = None
) -> None:
    """Decode `sources` straight into a pack; skipped files are counted by reason.

    Does nothing if `folder` already holds all of them, and starts again if it holds other files. One file or more is held
    out for validation. Raises ValueError if `folder` holds audio at another rate, or if no file is usable.
    """
    sources = list(sources)
    names = {source.name for source in sources}
    with locked(folder):
        known = {row["name"] for row in read_index(folder) + read_index(folder, SKIPPED)}
        if known and sample_rate_of(folder) != sample_rate:
            raise ArgumentError(
                f"{folder}: holds audio at {sample_rate_of(folder)} Hz; give another --output for audio at {sample_rate} Hz"
            )
        if known - names:
            _forget(folder)
        added = _pack_all(folder, sources, validation_names(names), sample_rate, report, jobs)
        usable = [row["name"] for row in read_index(folder)]
        if len(usable) > 1 and not any(row["split"] == "valid" for row in read_index(folder)):
            # The file to hold out was not usable, or came later than the others: choose among those that are.
            _forget(folder)
            added = _pack_all(folder, sources, validation_names(usable), sample_rate, report, jobs)
    if added:
        report_hours(folder, report)
    elif usable:
        report(f"{folder} is already packed")
    if not usable:
        raise ArgumentError(f"{folder}: no file could be packed; {folder / SKIPPED} says why, and must be deleted to try again")
    if len(usable) == 1:
        report(f"{folder}: holds one file only; training needs two different ones, because one is held out for validation")


def _pack_all(
    folder: Path, sources: list[Source], held_out: set[str], sample_rate: int, report: Report, jobs: int | None
) -> int:
    """Append the files that a pack does not have yet; return how many there were."""
    with AudioMaps(folder, sample_rate) as maps:
        return _append_all(maps, sources, 1, held_out.__contains__, report, jobs)


def _forget(folder: Path) -> None:
    """Empty a pack. Its audio is cut off when it is opened for the next file."""
    for name in (INDEX, SKIPPED):
        (folder / name).unlink(missing_ok=True)


def derive_pack(masters: Path, folder: Path, sample_rate: int, report: Report = print) -> None:
    """Make or complete a mono pack at `sample_rate` (Hz) from masters."""
    with locked(folder), AudioMaps(folder, sample_rate) as maps:
        if maps.rows and sample_rate_of(folder) != sample_rate:
            raise ArgumentError(f"{folder}: holds audio at {sample_rate_of(folder)} Hz, not {sample_rate} Hz; delete it first")
        rows = [row for row in read_index(masters) if row["name"] not in maps.names]
        for row in rows:
            audio = to_pack(read_master(masters, row), sample_rate)
            if max(int(audio.max()), -int(audio.min())) < MIN_PEAK * 32767:
                maps.skip(row["name"], "silent")
                continue
            kept = {key: row[key] for key in ("name", "package", "licence", "split", "native_rate", "bandwidth")}
            maps.append(kept | {"group": pack_group(row, sample_rate)}, audio)
    if (masters / "licences.json").exists():
        shutil.copyfile(masters / "licences.json", folder / "licences.json")
    if rows:
        report_hours(folder, report)
    else:
        report(f"{folder} is already packed")


def read_master(masters: Path, row: Row) -> NDArray[np.int16]:
    """Return the audio [N, C] of one row of the masters' index."""
    shape = (row["length"], row["channels"])
    return np.memmap(masters / f"{row['group']}.{row['split']}.i16", "<i2", "r", 2 * row["start"], shape)


def to_pack(audio: NDArray[np.int16], sample_rate: int) -> NDArray[np.int16]:
    """Convert audio [N, C] at MASTER_RATE to [n, 1] at `sample_rate`."""
    if sample_rate == MASTER_RATE:
        if audio.shape[1] == 1:
            return audio
        return ((audio[:, :1].astype(np.int32) + audio[:, 1:] + 1) >> 1).astype("<i2")
    mono = sum(audio[:, c].astype(np.float32) for c in range(audio.shape[1])) / (audio.shape[1] * 32768)
    mono = soxr.resample(mono, MASTER_RATE, sample_rate, quality="HQ")[:, None]
    return to_int16(mono / max(1.0, peak_of(mono)))


def pack_group(row: Row, sample_rate: int) -> str:
    """Return the group of a file in a pack; speech that fills the band is separate from speech that does not.

    Recordings at 22 kHz fill the band of a 24 kHz pack, but not of a 48 kHz pack, where they would teach a model to mute the
    top.
    """
    if not row["group"].startswith("speech"):
        return str(row["group"])
    full = row["bandwidth"] >= min(FULL_BAND_HZ, FULL_BAND_SHARE * sample_rate / 2)
    return "speech" if full else "speech16k"


def pack_path(output: Path, sample_rate: int) -> Path:
    """Return the path of the pack of a rate in the folder that `ecdc train fetch` writes to."""
    return output / ("packed" if sample_rate == SAMPLE_RATE else f"packed{sample_rate / 1000:g}")


def find_or_derive_pack(data: Path, sample_rate: int, report: Report = print) -> Path:
    """Return the pack of `data` at `sample_rate` (Hz); it is derived from masters if it does not exist yet.

    `data` is a pack, or the folder that `ecdc train fetch` wrote to. Raises ArgumentError for a pack of another rate with
    neither masters nor a pack of this rate next to it.
    """
    parent = data if (data / "masters").is_dir() else data.parent
    ready = (data / INDEX).exists()
    if ready and sample_rate_of(data) == sample_rate:
        return data
    if (parent / "masters" / INDEX).exists():
        folder = pack_path(parent, sample_rate)
        derive_pack(parent / "masters", folder, sample_rate, report)
        return folder
    for folder in (pack_path(data, sample_rate), pack_path(data.parent, sample_rate)):  # the masters may have been deleted
        if (folder / INDEX).exists() and sample_rate_of(folder) == sample_rate:
            return folder
    if ready:
        wanted = f"{sample_rate} Hz are wanted: `ecdc train pack --rate {sample_rate}`"
        raise ArgumentError(f"{data}: packed at {sample_rate_of(data)} Hz, but {wanted}")
    return data


def report_hours(folder: Path, report: Report) -> None:
    """Report the hours of every group and split, and why files were skipped."""
    hours: Counter[tuple[str, str]] = Counter()
    skipped = Counter(row["reason"] for row in read_index(folder, SKIPPED))
    rate = sample_rate_of(folder)
    for row in read_index(folder):
        hours[row["group"], row["split"]] += row["length"] / rate / 3600
    for (group, split), total in sorted(hours.items()):
        report(f"{group:10s} {split:10s} {total:6.2f} h")
    for reason, count in skipped.most_common():
        report(f"skipped {count} files: {reason}")


def _append_all(
    maps: AudioMaps, sources: list[Source], channels: int, is_held_out: Callable[[str], bool], report: Report, jobs: int | None
) -> int:
    """Append the files that `maps` does not have yet; return how many there were."""
    wanted = [source for source in sources if source.name not in maps.names]
    seen = {row["sha256"] for row in maps.rows if "sha256" in row}
    for done, (source, clip) in enumerate(zip(wanted, _decoded(wanted, maps.sample_rate, channels, jobs), strict=True)):
        if done and done % 2000 == 0:
            report(f"{done} of {len(wanted)} files decoded")
        if isinstance(clip, str):
            maps.skip(source.name, clip)
            continue
        digest = hashlib.sha256(clip.audio.tobytes()).hexdigest()[:32]
        if digest in seen:
            maps.skip(source.name, "exact duplicate")
            continue
        seen.add(digest)
        row = {"name": source.name, "package": source.package.name, "licence": source.package.licence}
        row |= {"group": source.package.group, "split": "valid" if is_held_out(source.name) else "train"}
        maps.append(row | {"native_rate": clip.native_rate, "bandwidth": clip.bandwidth, "sha256": digest}, clip.audio)
    return len(wanted)


def _decoded(sources: list[Source], sample_rate: int, channels: int, jobs: int | None) -> Iterator[Clip | str]:
    """Decode in order, `jobs` files at a time (default: all cores), only a few ahead of the reader."""
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1 or len(sources) < FEW_FILES:
        yield from (decode(source, sample_rate, channels) for source in sources)
        return
    ahead: deque[Future[Clip | str]] = deque()
    with ProcessPoolExecutor(jobs) as pool:
        for source in sources:
            ahead.append(pool.submit(decode, source, sample_rate, channels))
            if len(ahead) > 4 * jobs:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
