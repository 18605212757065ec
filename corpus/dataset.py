"""Tokens of a corpus for training: samples by index. `stream.py` reads them in shuffled order, `collate.py` makes batches."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..format.arguments import whole_number
from .errors import CorpusError
from .plan import read_about
from .reading import Shard
from .records import read_records
from .store import Store

Path: TypeAlias = "str | os.PathLike[str]"
MOST_FRAMES = 1 << 24  # of a window: days of audio; windows are padded to their length
WINDOWS = ("whole", "all", "random")


@dataclass(frozen=True)
class Place:
    """Where a sample is: frames [start, start + frames) of a row; `frames` 0 means to the end."""

    shard: int  # index in the list of shards that hold rows
    row: int
    start: int = 0
    frames: int = 0


class TokenDataset:
    """The tokens of a corpus by index: a map-style dataset, for torch's DataLoader or without it.

    A sample is a dict: `codes` uint16 [R, T], `mask` bool [T] (False where a short recording is padded with zeros), `key`,
    `start` (the first frame), and the wanted columns. R is the codebooks of all streams. The dataset can be pickled, and
    shards are opened by the process that reads them.
    """

    def __init__(
        self, where: Path | Sequence[Path], frames: int | None = None, windows: str | None = None, *, align: int = 1,
        n_codebooks: int | None = None, columns: Sequence[str] = ("text",), seed: int = 0, open_shards: int = 256,
    ) -> None:  # fmt: skip
        """Open a finished or unfinished corpus, or several of one token space and rate.

        With `frames`, samples are windows of as many frames: "random", one window per recording, a new one in each epoch
        (the default), or "all", one after the other, of which the last is padded. Windows begin at multiples of `align`
        frames. Without `frames`, samples are whole recordings. `n_codebooks` keeps the first ones of a single stream.
        `columns` that a recording lacks are None. `seed` decides the windows. At most `open_shards` are kept open;
        each process compares the checksum of a shard when it first opens it.
        Raises CorpusError with one line for a folder that is no corpus, for corpora that do not fit together, and for bad
        arguments.
        """
        stores = [Store(each) for each in ([where] if isinstance(where, str | os.PathLike) else where)]
        self.epoch, abouts = 0, [read_about(store) for store in stores]
        check_alike(stores, abouts)
        self.about = abouts[0]
        self.windows = windows or ("whole" if frames is None else "random")
        self.frames, self.align, self.n_codebooks = frames, align, n_codebooks
        self._check_arguments()
        self.columns, self.seed = tuple(columns), whole_number("seed", seed, 0)
        self._most_open = max(whole_number("open_shards", open_shards), 1)
        found = [
            (store, about, record)
            for store, about in zip(stores, abouts, strict=True)
            for _, record in sorted(read_records(store).items())
            if record["files"]
        ]
        if not found:
            raise CorpusError(f"{where}: holds no tokens yet")
        self._files = [(store, about, record["files"]) for store, about, record in found]
        records = [record for _, _, record in found]
        self.lengths = [np.array(record["frames"], np.int64) for record in records]  # frames of every row, by shard
        counts = [self._windows_of(lengths).sum() for lengths in self.lengths]
        self._ends = np.cumsum(counts)  # of the shards, in samples
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._checked: set[int] = set()  # shards whose checksum this process has compared
        self._process = os.getpid()

    def _check_arguments(self) -> None:
        frames, align = self.frames, self.align
        for name, value in (("frames", frames), ("align", align)):
            if value is not None:
                whole_number(name, value, most=MOST_FRAMES)
        if self.windows not in WINDOWS or (frames is None) != (self.windows == "whole"):
            raise CorpusError(f"with frames, windows must be random or all, else whole; got {self.windows!r} and {frames}")
        if (frames is not None and frames < 1) or align < 1:
            raise CorpusError(f"frames and align must be 1 or more, got {frames} and {align}")
        most = min(sum(ks) for ks in self.about["codebooks"].values())
        if self.n_codebooks is not None and not 1 <= whole_number("n_codebooks", self.n_codebooks) <= most:
            raise CorpusError(f"n_codebooks must be 1 to {most} for this corpus, got {self.n_codebooks}")

    @property
    def codebook_size(self) -> int:
        """Entries per codebook V: codes are in [0, V)."""
        return int(self.about["codebook_size"])

    @property
    def n_shards(self) -> int:
        """Number of shards that hold rows."""
        return len(self._files)

    def set_epoch(self, epoch: int) -> None:
        """Choose other random windows, before the loaders of the next epoch start."""
        self.epoch = whole_number("epoch", epoch, 0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.read(self.place(index))

    def n_samples_in(self, shard: int) -> int:
        """Return the number of samples of a shard."""
        return int(self._ends[shard] - (self._ends[shard - 1] if shard else 0))

    def place(self, index: int) -> Place:
        """Return where a sample is. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: the dataset has {len(self)} samples")
        index %= len(self)
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return self.place_in(shard, index - (int(self._ends[shard - 1]) if shard else 0))

    def place_in(self, shard: int, index: int) -> Place:
        """Return where a sample of a shard is."""
        if self.windows == "whole":
            return Place(shard, index)
        assert self.frames is not None
        if self.windows == "all":
            ends = np.cumsum(self._windows_of(self.lengths[shard]))
            row = int(np.searchsorted(ends, index, side="right"))
            return Place(shard, row, (index - (int(ends[row - 1]) if row else 0)) * self._step, self.frames)
        last = max(int(self.lengths[shard][index]) - self.frames, 0) // self.align
        chosen = np.random.default_rng((self.seed, self.epoch, shard, index)).integers(last + 1)
        return Place(shard, index, int(chosen) * self.align, self.frames)

    def read(self, place: Place) -> dict[str, Any]:
        """Read a sample. Raises OSError, CorpusError or FormatError if it cannot be read."""
        shard, n = self._shard(place.shard), int(self.lengths[place.shard][place.row])
        stop = min(place.start + place.frames, n) if place.frames else n
        codes = shard.codes(place.row, place.start, stop)[: self.n_codebooks]
        missing = place.frames - codes.shape[1] if place.frames else 0
        mask = np.ones(codes.shape[1] + missing, bool)
        if missing:
            mask[codes.shape[1] :] = False
            codes = np.pad(codes, ((0, 0), (0, missing)))
        facts = shard.columns(place.row) if self.columns else {}
        sample: dict[str, Any] = {"codes": codes, "mask": mask, "start": place.start}
        return sample | ({"key": facts["key"]} if facts else {}) | {name: facts.get(name) for name in self.columns}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}

    @property
    def _step(self) -> int:
        """Frames from one window to the next."""
        assert self.frames is not None
        return -(-self.frames // self.align) * self.align

    def _windows_of(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of samples of each row."""
        if self.windows != "all":
            return np.ones(len(lengths), np.int64)
        return np.maximum(-(-lengths // self._step), 1)

    def _shard(self, number: int) -> Shard:
        if self._process != os.getpid():  # forked or unpickled
            self._open, self._process = OrderedDict(), os.getpid()
            self._checked = set()
        if number not in self._open:
            self._open[number] = Shard.open(*self._files[number], check=number not in self._checked)
            self._checked.add(number)
            while len(self._open) > self._most_open:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]


def check_alike(stores: Sequence[Store], abouts: Sequence[dict[str, Any]]) -> None:
    """Raise CorpusError unless all corpora have tokens of one kind."""
    if not stores:
        raise CorpusError("name at least one corpus")
    for store, about in zip(stores, abouts, strict=True):
        for name in ("token_space", "codebooks"):
            if about[name] != abouts[0][name]:
                one, other = (f"{each['model']} with {each['codebooks']} codebooks" for each in (abouts[0], about))
                raise CorpusError(f"{store}: holds tokens of {other}, {stores[0]} of {one}; open them one by one")
