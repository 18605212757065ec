"""Tokens of a corpus for training, in shuffled order: every reader gets its own share, and can continue where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..format.arguments import described, whole_number
from .dataset import Place, TokenDataset
from .errors import CorpusError

if TYPE_CHECKING:
    Base = object
else:
    try:  # torch's DataLoader asks for this class; without torch, the stream is an iterable like any other
        from torch.utils.data import IterableDataset as Base
    except ModuleNotFoundError:
        Base = object


class TokenStream(Base):
    """Samples of a TokenDataset in shuffled order: an iterable dataset.

    Every iteration is an epoch. The readers, `world` ranks with the workers of a DataLoader each, share the samples without
    duplicates or gaps. The order depends on `seed`, epoch, and the number of readers alone. Shards are shuffled, and
    samples inside of a buffer of `shuffle` samples; 0 keeps the corpus's order. Only the places of samples wait in the
    buffer, so it takes little memory, and continuing reads nothing twice.
    """

    def __init__(self, dataset: TokenDataset, shuffle: int = 1000, *, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        """`rank` is the number of this process among `world` processes that train together. Raises CorpusError."""
        for name, value in (("shuffle", shuffle), ("rank", rank), ("world", world)):
            whole_number(name, value, most=sys.maxsize)
        whole_number("seed", seed, 0)
        if not 0 <= rank < world or shuffle < 0:
            raise CorpusError(f"rank must be 0 to world - 1, and shuffle not negative; got {rank}, {world}, {shuffle}")
        self.dataset, self.shuffle, self.seed, self.rank, self.world = dataset, shuffle, seed, rank, world
        self.epoch = 0
        self._position = 0  # samples of this epoch that were given

    def state_dict(self) -> dict[str, int]:
        """Return where this reader is, for `load_state_dict`. torchdata's StatefulDataLoader calls it in every worker."""
        return {"epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a position of a reader with the same number. Raises CorpusError if `state` is no such position."""
        if not isinstance(state, dict) or not {"epoch", "position"} <= state.keys():
            raise CorpusError(f"a state must be a dict with epoch and position, got {described(state)}")
        self.epoch = whole_number("epoch", state["epoch"], 0)
        self._position = whole_number("position", state["position"], 0)

    def set_epoch(self, epoch: int) -> None:
        """Begin with an epoch; iterations after it follow by themselves."""
        self.epoch, self._position = whole_number("epoch", epoch, 0), 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.dataset.set_epoch(self.epoch)
        for number, place in enumerate(self.places()):
            if number >= self._position:
                self._position = number + 1  # before the sample is given: it counts as given when the state is read
                yield self.dataset.read(place)
        self.set_epoch(self.epoch + 1)

    def places(self) -> Iterator[Place]:
        """Yield the places of this reader's samples in this epoch, in order."""
        rng = np.random.default_rng((self.seed, self.epoch))
        buffer: list[Place] = []
        for place in self._share(rng):
            if not self.shuffle:
                yield place
                continue
            buffer.append(place)
            if len(buffer) > self.shuffle:
                yield _take(buffer, rng)
        while buffer:
            yield _take(buffer, rng)

    def _share(self, rng: np.random.Generator) -> Iterator[Place]:
        """Yield this reader's places: whole shards if there are many, otherwise every n-th sample of all."""
        worker, n_workers = worker_info()
        reader, n_readers = self.rank * n_workers + worker, self.world * n_workers
        shards = np.arange(self.dataset.n_shards)
        if self.shuffle:
            rng.shuffle(shards)
        by_shard = len(shards) >= 4 * n_readers
        number = 0
        for i, shard in enumerate(shards.tolist()):
            n_samples = self.dataset.n_samples_in(shard)
            if by_shard and i % n_readers != reader:
                continue
            for j in range(n_samples):
                if by_shard or (number + j) % n_readers == reader:
                    yield self.dataset.place_in(shard, j)
            number += n_samples


def _take(buffer: list[Place], rng: np.random.Generator) -> Place:
    i = int(rng.integers(len(buffer)))
    buffer[i], buffer[-1] = buffer[-1], buffer[i]
    return buffer.pop()


def worker_info() -> tuple[int, int]:
    """Return (number of this worker, number of workers) of a torch DataLoader; (0, 1) outside of one."""
    if sys.modules.get("torch") is None:
        return 0, 1
    from torch.utils.data import get_worker_info

    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
