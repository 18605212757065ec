"""Music that is not in any training set: pieces chosen by seed, rendered, and stored in a folder as codec tokens."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from ..train.musicgen import caption_words
from ..train.musicgen.captions import caption
from ..train.musicgen.compose import compose
from ..train.musicgen.labels import Labels, Piece
from ..train.musicgen.music_theory import INSTRUMENTS
from ..train.musicgen.render import Renderer
from .codecs.ours import loaded

CODEC, N_CODEBOOKS = "nano-24k", 4  # the generator writes its tokens
FAMILIES = tuple(sorted({instrument.family for instrument in INSTRUMENTS.values()} - {"bass"}))  # a bass never plays alone


def family_of(piece: Piece) -> str | None:
    """Return the instrument family of a piece, or None if it has several."""
    families = {part.family for part in piece.labels.instruments}
    return families.pop() if len(families) == 1 else None


def balanced(first: int, n: int) -> list[Piece]:
    """Return `n` pieces with seeds from `first` on, each of a single family, with families as equal in number as possible."""
    quota = Counter(family for family, _ in zip(_cycle(), range(n), strict=False))
    found: list[Piece] = []
    for seed in count(first):
        if len(found) == n:
            return found
        piece = compose(seed)
        family = family_of(piece)
        if family is not None and quota[family]:
            quota[family] -= 1
            found.append(piece)
    raise AssertionError("unreachable")


def _cycle() -> Iterator[str]:
    while True:
        yield from FAMILIES


def chosen(first: int, n: int, accepts: Callable[[Piece], bool] = lambda piece: True) -> list[Piece]:
    """Return the first `n` accepted pieces with seeds from `first` on."""
    return list(islice(filter(accepts, map(compose, count(first))), n))


def has_melody(piece: Piece) -> bool:
    """Return True if a piece has a melody part."""
    return any(part.role == "melody" for part in piece.labels.instruments)


def prompt(piece: Piece, says: Callable[[Labels, str], bool]) -> str:
    """Return the first caption of a piece for which `says` is True. Deterministic."""
    rng = random.Random(f"prompt {piece.seed}")
    return next(text for text in (caption(piece.labels, rng) for _ in count()) if says(piece.labels, text))


def names_family(labels: Labels, text: str) -> bool:
    """Return True if a caption names an instrument by a word that no other family has."""
    names = {name for part in labels.instruments for name in caption_words.INSTRUMENTS[part.name] if len(_owners()[name]) == 1}
    return any(re.search(rf"\b{re.escape(name)}\b", text.lower()) for name in names)


@lru_cache(maxsize=1)
def _owners() -> dict[str, set[str]]:
    """Return for each instrument name the families that it may mean."""
    found: dict[str, set[str]] = {}
    for instrument, names in caption_words.INSTRUMENTS.items():
        for name in names:
            found.setdefault(name, set()).add(INSTRUMENTS[instrument].family)
    return found


def names_tempo(labels: Labels, text: str) -> bool:
    """Return True if a caption states the beats per minute."""
    return re.search(rf"\b{labels.tempo_bpm} ?(bpm|beats)", text.lower()) is not None


def names_no_key(labels: Labels, text: str) -> bool:
    """Return True if a caption names no key, so that the melody alone sets the pitch."""
    return not re.search(r"\b(major|minor)\b", text.lower())


@dataclass(frozen=True, slots=True)
class Order:
    """A request to render a piece."""

    seed: int
    channels: int = 1
    melody: bool = False  # True: also keep the melody alone

    @property
    def file(self) -> str:
        """File name in the store's folder."""
        return f"{self.seed}-{self.channels}{'m' * self.melody}.npz"


@dataclass(frozen=True, slots=True)
class Played:
    """A rendered piece, encoded by the codec."""

    codes: np.ndarray  # uint16 [C, K, T]
    melody: np.ndarray  # int16 [N], empty if not requested


class Store:
    """A folder of rendered pieces. A file made with another soundfont or composer is replaced."""

    def __init__(self, folder: Path, soundfonts: Sequence[Path]) -> None:
        self.folder, self.soundfonts = folder, list(soundfonts)

    def get(self, order: Order) -> Played:
        """Read a piece that `prepare` has made."""
        with np.load(self.folder / order.file, allow_pickle=False) as file:
            return Played(file["codes"], file["melody"])

    def has(self, order: Order) -> bool:
        """Return True if the folder has a complete and current file of this piece."""
        try:
            with np.load(self.folder / order.file, allow_pickle=False) as file:
                return str(file["about"]) == self._about(compose(order.seed))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False

    def prepare(self, orders: Sequence[Order], jobs: int, report: Callable[[str], object]) -> None:
        """Render and encode the missing pieces in `jobs` processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [order for order in dict.fromkeys(orders) if not self.has(order)]
        if not missing:
            return
        report(f"{len(missing)} pieces to play, of {len(orders)}")
        if jobs == 1:
            for order in missing:
                self.make(order)
            return
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            for i, _ in enumerate(pool.map(self.make, missing), 1):
                if i % 50 == 0:
                    report(f"{i} of {len(missing)} pieces played")

    def make(self, order: Order) -> None:
        """Render one piece, encode it and write its file."""
        piece = compose(order.seed)
        codec = loaded(CODEC)
        rendering = _renderer(self._soundfont(order.seed), codec.sample_rate).render(piece, order.channels)
        codes = codec.encode(torch.from_numpy(rendering.mix)[:, None], n_codebooks=N_CODEBOOKS).numpy().astype(np.uint16)
        alone = rendering.melody if order.melody and rendering.melody is not None else np.zeros(0, np.float32)
        melody = np.round(32_767 * np.clip(alone, -1, 1)).astype(np.int16)
        partial = self.folder / f"{order.file}.{os.getpid()}.partial"
        with partial.open("wb") as stream:
            np.savez_compressed(stream, codes=codes, melody=melody, about=np.array(self._about(piece)))
        partial.rename(self.folder / order.file)

    def _soundfont(self, seed: int) -> Path:
        return self.soundfonts[seed % len(self.soundfonts)]

    def _about(self, piece: Piece) -> str:
        return json.dumps({"soundfont": self._soundfont(piece.seed).name, "labels": piece.labels.to_dict()})


@lru_cache(maxsize=4)
def _renderer(soundfont: Path, sample_rate: int) -> Renderer:
    """Return a renderer, one per soundfont and process, because opening a soundfont takes seconds."""
    return Renderer(soundfont, sample_rate)
