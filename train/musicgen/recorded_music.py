"""Recorded music: excerpts of the packages that `ecdc train fetch` unpacked, labelled by their file names."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ...format.errors import ArgumentError
from ..data.sources import Source, is_validation, list_sources, read_packages
from .compose import SECONDS
from .labels import Labels

MIN_RMS = 0.004  # excerpts below this are almost silent
MARGIN_SECONDS = 0.1  # read around an excerpt, for the resampler


@dataclass(frozen=True, slots=True)
class Cut:
    """A 20-second excerpt of a file."""

    name: str  # of the source: "<package>/<path inside it>"
    start: float  # seconds
    labels: Labels
    is_validation: bool


def music_sources(tree: Path) -> dict[str, Source]:
    """Return the music files, by name, of the packages unpacked in `tree`. Raises ValueError if there are none."""
    packages = [p for p in read_packages() if p.group == "music" and (tree / p.name).is_dir()]
    found = {source.name: source for package in packages for source in list_sources(package, tree / package.name)}
    if not found:
        raise ArgumentError(f"{tree}: no music here; run `ecdc train fetch` first, or give --recorded-hours 0")
    return found


def recorded_cuts(sources: dict[str, Source], hours: float) -> Iterator[Cut]:
    """Yield excerpts of at most `hours` in total: the first of every file before the second of any, in a fixed order.

    Files keep the split that they have in the codec's training.
    """
    order = sorted(sources, key=lambda name: hashlib.sha256(name.encode()).digest())
    left, depth, active = int(hours * 3600 / SECONDS), 0, order
    while left and active:
        going = []
        for name in active:
            start = depth * SECONDS
            wav = _read(sources[name], start) if left else None
            if wav is None:
                continue
            going.append(name)
            if float(np.sqrt(np.mean(wav**2))) >= MIN_RMS:
                left -= 1
                package = sources[name].package.name
                labels = Labels(title=title_of(name), package=package, channels=len(wav))
                yield Cut(name, start, labels, is_validation(name))
        active, depth = going, depth + 1


def read_cut(source: Source, start: float, sample_rate: int) -> np.ndarray:
    """Return 20 s of a file from `start` seconds on: float32 [C, N], with C = 2 if the channels differ."""
    wav = _read(source, start, sample_rate)
    if wav is None:
        raise ArgumentError(f"{source.name}: shorter than when the folder was planned; fetch it again")
    return wav


def _read(source: Source, start: float, sample_rate: int = 24_000) -> np.ndarray | None:
    """Like `read_cut`, but return None if the file is too short or cannot be read."""
    try:
        with soundfile.SoundFile(_open(source)) as file:
            rate, n_wanted = file.samplerate, round(SECONDS * file.samplerate)
            before = round(min(start, MARGIN_SECONDS) * rate)
            first = round(start * rate)
            if first + n_wanted > file.frames:
                return None
            file.seek(first - before)
            wav = file.read(before + n_wanted + round(MARGIN_SECONDS * rate), dtype="float32", always_2d=True)[:, :2]
    except (soundfile.LibsndfileError, zipfile.BadZipFile, KeyError):
        return None
    wav = soxr.resample(wav, rate, sample_rate, quality="VHQ").T
    skipped, n_samples = round(before / rate * sample_rate), round(SECONDS * sample_rate)
    wav = np.pad(wav, ((0, 0), (0, max(0, skipped + n_samples - wav.shape[1]))))[:, skipped : skipped + n_samples]
    wav = wav / max(1.0, float(np.abs(wav).max()))
    is_mono = len(wav) == 1 or float(np.abs(wav[0] - wav[1]).max()) < 1e-4
    return np.ascontiguousarray(wav[:1] if is_mono else wav)


def _open(source: Source) -> io.BytesIO | str:
    if source.member is None:
        return str(source.path)
    with zipfile.ZipFile(source.path) as archive:
        return io.BytesIO(archive.read(source.member))


def title_of(name: str) -> str:
    """Return the words of a file name in lower case: "x/07_Dark-Forest2.ogg" gives "dark forest"."""
    stem = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", Path(name).stem)
    return " ".join(re.sub(r"[\W\d_]+", " ", stem).split()).lower()
