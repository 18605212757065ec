"""Reference clips for the benchmarks: the bundled set, a folder, packed audio, or synthetic sounds."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..codec.audio import resample_all
from ..format.errors import ArgumentError

CLIPS = Path(__file__).parent / "clips"
KINDS = ("speech", "music", "sounds")
SUFFIXES = frozenset(f".{name.lower()}" for name in soundfile.available_formats()) | {".opus", ".oga", ".aif"}
NOISE_FLOOR_DB = 70.0  # below the loudest part of a spectrum


@dataclass(frozen=True)
class Clip:
    """A reference clip: mono float32 [N] at `sample_rate`, and its origin. `problem` says why there is no audio, if so."""

    name: str
    kind: str  # one of KINDS, or "audio" if unknown
    audio: np.ndarray
    sample_rate: int  # Hz
    native_rate: int = 0  # Hz, of the file
    licence: str = ""
    problem: str = ""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.audio) / self.sample_rate

    @property
    def bandwidth_hz(self) -> int:
        """Bandwidth of the clip: its highest frequency with content, in steps of 500 Hz."""
        return bandwidth(self.audio, self.sample_rate)


def bandwidth(audio: np.ndarray, sample_rate: int) -> int:
    """Return the frequency in Hz, in steps of 500, above which audio [N] stays NOISE_FLOOR_DB below its loudest band."""
    if len(audio) < 256 or not np.isfinite(audio).all():
        return 0
    size = 1 << min(12, len(audio).bit_length() - 1)
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[:: size // 2] * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(frames))).max(axis=0)  # maximum over time
    edges = np.arange(0, sample_rate / 2 + 1, 500)
    bins = np.digitize(np.fft.rfftfreq(size, 1 / sample_rate), edges) - 1
    bands = np.array([power[bins == i].max(initial=0.0) for i in range(len(edges))])
    if not bands.any():
        return 0
    return int(min(500 * (1 + np.flatnonzero(bands > bands.max() * 10 ** (-NOISE_FLOOR_DB / 10))[-1]), sample_rate // 2))


def read_clip(path: Path, name: str, kind: str, sample_rate: int, max_seconds: float | None, licence: str = "") -> Clip:
    """Read a file as mono at `sample_rate`: all of it, or at most `max_seconds` from its middle.

    A file that cannot be used becomes a clip without audio whose `problem` says why, so that it does not end the run.
    """
    empty = np.zeros(0, np.float32)
    try:
        with soundfile.SoundFile(path) as file:
            rate, n_wanted = file.samplerate, file.frames
            if max_seconds is not None and n_wanted > max_seconds * rate:
                n_wanted = round(max_seconds * rate)
                file.seek((file.frames - n_wanted) // 2)
            audio = file.read(n_wanted, dtype="float32", always_2d=True).mean(1)
    except (OSError, RuntimeError, ValueError) as error:
        return Clip(name, kind, empty, sample_rate, problem=f"not readable: {' '.join(str(error).split())}")
    if not len(audio):
        return Clip(name, kind, empty, sample_rate, rate, problem="holds no samples")
    if not np.isfinite(audio).all():
        return Clip(name, kind, empty, sample_rate, rate, problem="has samples that are not finite numbers")
    return Clip(name, kind, resample_all(audio[None], rate, sample_rate)[0], sample_rate, rate, licence)


def bundled(sample_rate: int) -> Iterator[Clip]:
    """Yield the bundled clips; raises ValueError if a checksum does not match."""
    for row in catalogue():
        path = CLIPS / row["file"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise ArgumentError(f"{path}: its SHA-256 is not that of clips.toml")
        yield read_clip(path, path.stem, row["kind"], sample_rate, None, row["licence"])


def catalogue() -> list[dict[str, Any]]:
    """Return the rows of clips/clips.toml: file, kind, what, source, author, licence, sha256."""
    return tomllib.loads((CLIPS / "clips.toml").read_text(encoding="utf-8"))["clip"]


def folder(root: Path, sample_rate: int, max_seconds: float | None) -> Iterator[Clip]:
    """Yield every audio file under `root`. Its kind is the name of the nearest parent folder that is one of KINDS.

    Its name is its path, without the suffix if that is unique. Raises ValueError if there is no audio file.
    """
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ArgumentError(f"{root}: no audio in this folder")
    stems = Counter(path.with_suffix("") for path in paths)
    for path in paths:
        inside = path.relative_to(root)
        name = str(inside if stems[path.with_suffix("")] > 1 else inside.with_suffix(""))
        kind = next((part for part in reversed(inside.parts[:-1]) if part in KINDS), "audio")
        yield read_clip(path, name, kind, sample_rate, max_seconds)


def packed(root: Path, sample_rate: int, max_seconds: float, per_group: int = 4) -> Iterator[Clip]:
    """Yield evenly spaced clips of the validation slice of packed training audio (`ecdc train fetch`), at `sample_rate` in Hz.

    Raises ValueError if there is no packed audio, or if it is packed at a lower rate.
    """
    from ..train.data.memory_maps import sample_rate_of
    from ..train.data.packed_audio import validation_clips

    found = validation_clips(root, max_seconds, per_group)
    packed_rate = sample_rate_of(root)
    if sample_rate > packed_rate:
        raise ArgumentError(f"{root}: packed at {packed_rate} Hz, so references cannot be at {sample_rate} Hz")
    for group, rows in found.items():
        kind = next((kind for kind in KINDS if group.startswith(kind)), "audio")
        for i, row in enumerate(rows):
            audio = resample_all(row.numpy(), packed_rate, sample_rate)[0]
            yield Clip(f"{group}-{i}", kind, audio, sample_rate, packed_rate, "see the packages")


def synthetic(sample_rate: int, seed: int, seconds: float = 3.0) -> Iterator[Clip]:
    """Yield synthetic sounds for tests: gliding harmonics with a syllable-like envelope, a chord, bursts of noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t)) / sample_rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 30)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)) ** 2
    chord = sum(np.sin(2 * np.pi * f * t) * np.exp(-(t % 0.75) * 3) for f in (220.0, 277.2, 329.6, 440.0))
    bursts = rng.standard_normal(len(t)) * np.exp(-(t % 0.4) * 25)
    for name, kind, audio in (("voice", "speech", voice), ("chord", "music", chord), ("bursts", "sounds", bursts)):
        noisy = audio + 0.002 * rng.standard_normal(len(t))
        scaled = (0.3 * noisy / np.abs(noisy).max()).astype(np.float32)
        yield Clip(name, kind, scaled, sample_rate, sample_rate, "made here, CC0-1.0")
