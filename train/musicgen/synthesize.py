"""A folder of tokens with labels, for training a generator.

    codes.npy     uint16 [n, 2, K, T]: left and right; zeros in the second stream of a mono piece
    channels.npy  uint8 [n]: 1 or 2
    melody.npy    uint8 [n, F]: the melody's pitch class (0 = C) every 2048 samples; 255 if there is none
    pieces.jsonl  one row per piece: seed (or source and start), split, labels

`pieces.jsonl` is written last: a folder without it is incomplete, and the same call continues it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ...codec.model import Codec
from ...format.errors import ArgumentError
from ...plugins.musicgen.chroma import melody_classes
from ..data.sources import Source
from .compose import SECONDS, compose
from .labels import Labels, Piece
from .recorded_music import music_sources, read_cut, recorded_cuts
from .render import Renderer, Rendering
from .token_windows import NO_MELODY

N_CODEBOOKS = 4
CHROMA_FFT = 8192  # samples; one frame per quarter of this
BATCH = 4  # pieces that a worker makes at once
VALID_ONE_IN = 50
CODES, CHANNELS, MELODY, PIECES = "codes.npy", "channels.npy", "melody.npy", "pieces.jsonl"
PLAN, SETTINGS, DONE = "plan.jsonl.partial", "settings.json", "done.npy"

Row = dict[str, Any]
Report = Callable[[str], None]


class Player(Protocol):
    """Plays pieces: `Renderer`, or a stand-in."""

    def render(self, piece: Piece, channels: int) -> Rendering: ...


def synthesize(
    output: Path,
    hours: float,
    seed: int,
    codec: Codec,
    soundfonts: list[Path],
    report: Report,
    *,
    recorded_hours: float = 0.0,
    tree: Path | None = None,
    jobs: int = 1,
    player: Callable[[Path], Player] = Renderer,
) -> int:
    """Compose, play and encode `hours` of music, and cut up to `recorded_hours` from packages in `tree`; returns n.

    Each piece depends only on its own seed, for any `jobs` and any interruptions. Raises ValueError
    if `output` was started with other settings.
    """
    sources = music_sources(tree) if tree is not None and recorded_hours > 0 else {}
    settings = _settings(hours, seed, codec, soundfonts, recorded_hours if sources else 0.0)
    output.mkdir(parents=True, exist_ok=True)
    _check_settings(output, settings)
    if (output / PIECES).exists():
        rows = read_rows(output / PIECES)
        report(f"{output}: finished before, {len(rows)} pieces")
        return len(rows)
    rows = _plan(output, hours, seed, sources, recorded_hours, report)
    _allocate(output, rows, codec)
    done = _open_done(output / DONE)
    left = [int(i) for i in np.flatnonzero(done == 0)]
    report(f"{output}: {len(rows)} pieces, {len(left)} of them left to make")
    batches = [left[i : i + BATCH] for i in range(0, len(left), BATCH)]
    for finished in _run((output, rows, codec, soundfonts, sources, player), batches, jobs):
        done[finished] = 1
        done.flush()
        report(f"{int(done.sum())} of {len(rows)} pieces")
    (output / PLAN).rename(output / PIECES)
    (output / DONE).unlink()
    return len(rows)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON Lines file; raises ArgumentError if it is damaged."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        raise _damage(path) from None


def _damage(path: Path) -> ArgumentError:
    return ArgumentError(f"{path}: is damaged; delete {path.parent}, or give another --output")


def stored_melody(wav: np.ndarray | None, sample_rate: int, n_samples: int) -> np.ndarray:
    """Return the melody of [N] as it is stored: the pitch class of each frame, uint8 [F]; NO_MELODY if silent or None."""
    if wav is None:
        return np.full(n_samples // (CHROMA_FFT // 4) + 1, NO_MELODY, np.uint8)
    classes = melody_classes(torch.from_numpy(wav), sample_rate, n_fft=CHROMA_FFT)
    return torch.where(classes < 0, NO_MELODY, classes).numpy().astype(np.uint8)


def _open_done(path: Path) -> np.memmap:
    try:
        return np.load(path, mmap_mode="r+")  # type: ignore[no-any-return]
    except (ValueError, EOFError):
        raise _damage(path) from None


def _settings(hours: float, seed: int, codec: Codec, soundfonts: list[Path], recorded_hours: float) -> Row:
    if not recorded_hours and round(hours * 3600 / SECONDS) < 1:
        raise ArgumentError(f"{hours:g} hours of music are less than one piece of {SECONDS:g} s; give more --hours")
    return {
        "hours": hours,
        "seed": seed,
        "codec": codec.config.name,
        "soundfonts": [path.name for path in soundfonts],
        "recorded_hours": recorded_hours,
    }


def _check_settings(output: Path, settings: Row) -> None:
    path = output / SETTINGS
    if not path.exists():
        path.write_text(json.dumps(settings, indent=1) + "\n")
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise _damage(path) from None
    changed = [key for key, value in settings.items() if before.get(key) != value]
    if changed:
        key = changed[0]
        raise ArgumentError(f"{output}: was started with {key} {before.get(key)}, got {settings[key]}; give another --output")


def _plan(
    output: Path, hours: float, seed: int, sources: dict[str, Source], recorded_hours: float, report: Report
) -> list[Row]:
    """Return the rows of all pieces, which are made only once."""
    path = output / PLAN
    if not path.exists():
        rows = []
        for index in range(round(hours * 3600 / SECONDS)):
            piece = compose(seed * 1_000_000 + index)
            split = "valid" if piece.seed % VALID_ONE_IN == VALID_ONE_IN - 1 else "train"
            rows.append({"seed": piece.seed, "split": split, "labels": piece.labels.to_dict()})
        if sources:
            report("choosing cuts of recorded music")
        for cut in recorded_cuts(sources, recorded_hours):
            split = "valid" if cut.is_validation else "train"
            rows.append({"source": cut.name, "start": cut.start, "split": split, "labels": cut.labels.to_dict()})
        if not rows:
            raise ArgumentError(f"no recorded music, and no piece of {SECONDS:g} s in {hours:g} hours; give more --hours")
        partial = path.with_suffix(".new")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.rename(path)
    return read_rows(path)


def _allocate(output: Path, rows: list[Row], codec: Codec) -> None:
    """Create empty arrays of the right shapes unless they exist; DONE, the last, shows that all exist."""
    if (output / DONE).exists():
        return
    n, rate = len(rows), codec.config.sample_rate
    n_frames = -(-round(SECONDS * rate) // codec.config.hop_length)
    n_chroma = round(SECONDS * rate) // (CHROMA_FFT // 4) + 1
    shapes = {CODES: ((n, 2, N_CODEBOOKS, n_frames), "<u2"), MELODY: ((n, n_chroma), "u1"), CHANNELS: ((n,), "u1")}
    for name, (shape, dtype) in {**shapes, DONE: ((n,), "u1")}.items():
        np.lib.format.open_memmap(output / name, mode="w+", dtype=np.dtype(dtype), shape=shape).flush()


class _Worker:
    """What a process keeps from batch to batch."""

    def __init__(
        self, output: Path, rows: list[Row], codec: Codec, soundfonts: list[Path], sources: dict[str, Source],
        player: Callable[[Path], Player],
    ) -> None:  # fmt: skip
        self.rows, self.codec, self.soundfonts, self.sources, self.player = rows, codec, soundfonts, sources, player
        self.players: dict[Path, Player] = {}
        self.codes, self.channels, self.melody = (np.load(output / name, mmap_mode="r+") for name in (CODES, CHANNELS, MELODY))

    def make(self, batch: list[int]) -> list[int]:
        """Make some pieces and write them to the arrays; return their indices."""
        rate = self.codec.config.sample_rate
        found = [self.audio(self.rows[index], rate) for index in batch]
        streams = torch.from_numpy(np.concatenate([item.mix for item in found]))[:, None]  # [B, 1, N]
        codes = self.codec.encode(streams, n_codebooks=N_CODEBOOKS).numpy().astype(np.uint16)
        at = 0
        for index, item in zip(batch, found, strict=True):
            n_channels, n_samples = item.mix.shape
            self.codes[index, :n_channels] = codes[at : at + n_channels]
            self.channels[index] = n_channels
            self.melody[index] = stored_melody(item.melody, rate, n_samples)
            at += n_channels
        for array in (self.codes, self.channels, self.melody):
            array.flush()
        return batch

    def audio(self, row: Row, sample_rate: int) -> Rendering:
        """Return the audio of a row."""
        if "source" in row:
            return Rendering(read_cut(self.sources[row["source"]], row["start"], sample_rate), None)
        piece = compose(row["seed"])
        if piece.labels != Labels.from_dict(row["labels"]):
            raise ArgumentError(f"seed {row['seed']}: was planned by another version of the composer; give another --output")
        digest = hashlib.sha256(f"soundfont {row['seed']}".encode()).digest()
        path = self.soundfonts[digest[0] % len(self.soundfonts)]
        if path not in self.players:
            self.players[path] = self.player(path)
        return self.players[path].render(piece, piece.labels.channels)


_worker: _Worker | None = None  # of this process


def _start(work: tuple) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = _Worker(*work)


def _make(batch: list[int]) -> list[int]:
    assert _worker is not None
    return _worker.make(batch)


def _run(work: tuple, batches: list[list[int]], jobs: int) -> Iterator[list[int]]:
    """Make all batches, here or in `jobs` processes; yield the indices of each finished batch."""
    if jobs == 1:
        worker = _Worker(*work)
        yield from map(worker.make, batches)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start, (work,)) as pool:
        yield from pool.map(_make, batches)
