"""Decode any number of audio files into one int16 memory map per group and split.

Layout of a packed folder: `<group>.<split>.i16` (mono, little-endian, files end to end)
and `index.jsonl`, one row per file: name, package, group, split, start and length in
samples, native sample rate, rms. Reading costs nothing; sampling a window at a random
position is sampling by duration, and short words stand end to end as phrases.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .fetch import AUDIO_SUFFIXES, Package, Source, is_validation

SAMPLE_RATE = 24_000  # Hz
MIN_SECONDS, MIN_PEAK = 0.3, 0.01
FADE_SAMPLES = 120  # 5 ms at both ends, so that the joint between two files is no click


@dataclass(frozen=True, slots=True)
class Decoded:
    """One file as mono int16 [N] at SAMPLE_RATE, with the rate that it was recorded at."""

    audio: np.ndarray
    native_rate: int  # Hz


def decode_g722(data: bytes) -> tuple[np.ndarray, int]:
    """Headerless 64 kbps G.722 (what Asterisk ships) -> float32 [N], 16 kHz."""
    import av  # extra `train`: libsndfile does not read G.722

    with av.open(io.BytesIO(data), mode="r", format="g722") as container:
        frames = [f.to_ndarray() for f in container.decode(audio=0)]
    return np.concatenate(frames, axis=-1).ravel().astype(np.float32) / 32768, 16_000


def decode(source: Source) -> Decoded | str:
    """Decode one file; a file that cannot serve returns the reason instead of raising."""
    try:
        if source.member is None:
            data = source.path.read_bytes()
        else:
            with zipfile.ZipFile(source.path) as archive:
                data = archive.read(source.member)
        if source.name.endswith(".g722"):
            audio, rate = decode_g722(data)
        else:
            stereo, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            audio = stereo.mean(1)
    except Exception as error:  # a corrupt file among thousands is counted, not fatal
        return f"unreadable ({type(error).__name__})"
    if len(audio) < MIN_SECONDS * rate:
        return "shorter than 0.3 s"
    audio = soxr.resample(audio, rate, SAMPLE_RATE, quality="VHQ")
    peak = float(np.abs(audio).max())
    if not np.isfinite(peak) or peak < MIN_PEAK:
        return "silent" if np.isfinite(peak) else "not finite"
    ramp = np.sin(0.5 * np.pi * (np.arange(FADE_SAMPLES) + 0.5) / FADE_SAMPLES) ** 2
    audio[:FADE_SAMPLES] *= ramp
    audio[-FADE_SAMPLES:] *= ramp[::-1]
    return Decoded((audio / max(1.0, peak) * 32767).round().astype("<i2"), rate)


def folder_sources(folder: Path) -> list[Source]:
    """A user's own folder of audio, as one group named `data`."""
    package = Package(folder.name, "data", "the user's own")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    return [Source(package, p, None, f"data/{p.relative_to(folder)}") for p in paths]


def pack_sources(sources: Iterable[Source], folder: Path, report: Callable[[str], None] = print) -> None:
    """Decode `sources` in parallel into `folder`; skipped files are counted by reason.

    Does nothing where `folder` already holds a finished pack of the same files.
    """
    sources = list(sources)
    fingerprint = hashlib.sha256("\n".join(s.name for s in sources).encode()).hexdigest()
    done = folder / "index.jsonl"
    if done.exists() and (folder / "fingerprint").exists() and (folder / "fingerprint").read_text() == fingerprint:
        report(f"{folder} is already packed")
        return
    done.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    held_out = validation_names([s.name for s in sources])
    rows: list[dict] = []
    skipped: Counter[str] = Counter()
    seen: set[bytes] = set()
    maps: dict[str, io.BufferedWriter] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for source, item in zip(sources, pool.map(decode, sources, chunksize=8), strict=True):
            if isinstance(item, str):
                skipped[item] += 1
                continue
            key = hashlib.sha256(item.audio.tobytes()).digest()
            if key in seen:
                skipped["exact duplicate"] += 1
                continue
            seen.add(key)
            rows.append(_append(maps, folder, source, item, "valid" if source.name in held_out else "train"))
    for stream in maps.values():
        stream.close()
    (folder / "fingerprint").write_text(fingerprint)
    partial = folder / "index.jsonl.partial"
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    partial.rename(done)
    for (group, split), hours in sorted(_hours(rows).items()):
        report(f"{group:10s} {split:10s} {hours:6.2f} h")
    for reason, count in skipped.most_common():
        report(f"skipped {count} files: {reason}")


def validation_names(names: list[str]) -> set[str]:
    """The names held out for validation: the fixed slice, or one file where a small folder has none in it."""
    chosen = {name for name in names if is_validation(name)}
    if not chosen and len(names) > 1:
        chosen = {min(names, key=lambda name: hashlib.sha256(name.encode()).digest())}
    return chosen


def _append(maps: dict[str, io.BufferedWriter], folder: Path, source: Source, item: Decoded, split: str) -> dict:
    key = f"{source.package.group}.{split}"
    if key not in maps:
        maps[key] = open(folder / f"{key}.i16", "wb")  # noqa: SIM115 - closed by pack_sources
    start = maps[key].tell() // 2
    maps[key].write(item.audio.tobytes())
    rms = float(np.sqrt(np.mean((item.audio / 32768.0) ** 2)))
    return {
        "name": source.name,
        "package": source.package.name,
        "group": source.package.group,
        "split": split,
        "start": start,
        "length": len(item.audio),
        "native_rate": item.native_rate,
        "rms": round(rms, 5),
    }


def _hours(rows: list[dict]) -> Counter:
    hours: Counter = Counter()
    for row in rows:
        hours[row["group"], row["split"]] += row["length"] / SAMPLE_RATE / 3600
    return hours
