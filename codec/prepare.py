"""Prepare audio for a model: convert rate and channels, and cut it into blocks of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..format.timing import resampled_length
from .audio import AudioError, AudioSource, Resampler, fold_channels
from .full_scale import Overs
from .live import Pace

Progress = Callable[[float], None]  # receives the seconds of audio done since the last call


def fixed_blocks(blocks: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Regroup blocks [..., n] into blocks of exactly `size` (the last may be shorter), each with True if it is the last.

    If all blocks are empty, yields one empty block of the first one's shape; without blocks, yields nothing.
    """
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for block in blocks:
        waiting.append(block)
        n_waiting += block.shape[-1]
        while n_waiting > size:  # more than one block: the first is not the last
            joined = np.concatenate(waiting, axis=-1)
            yield joined[..., :size], False
            waiting, n_waiting = [joined[..., size:]], n_waiting - size
    if waiting:
        yield np.concatenate(waiting, axis=-1), True


class Prepared:
    """Audio of a source at the codec's rate and channels, block by block; counts samples, and those beyond full scale.

    With a `pace`, each read takes only what the next block needs.
    """

    def __init__(
        self, source: AudioSource, channels: int, sample_rate: int, progress: Progress, pace: Pace | None = None
    ) -> None:
        self._source, self._channels, self._rate, self._progress = source, channels, sample_rate, progress
        self._pace = pace
        self.n_original = self.n_samples = 0
        self.overs = Overs()  # of the source

    def __iter__(self) -> Iterator[np.ndarray]:
        rate = self._source.info.sample_rate
        resampler = Resampler(rate, self._rate, self._channels)
        pace = self._pace
        for block in self._source.blocks(None if pace is None else lambda: pace.n_wanted(rate, self._rate)):
            self.n_original += block.shape[1]
            self.overs.add(block)
            yield self._counted(resampler(fold_channels(block, self._channels, self._source.info.speakers)))
            self._progress(block.shape[1] / rate)
        if self.n_original == 0:
            raise AudioError(f"{self._source.name}: holds no samples")
        rest = self._counted(resampler(np.zeros((self._channels, 0), np.float32), last=True))
        # The resampler may end one sample early, while the container's lengths are rounded up.
        missing = resampled_length(self.n_original, rate, self._rate) - self.n_samples
        yield np.pad(rest, ((0, 0), (0, max(0, missing))))[:, : rest.shape[1] + missing]
        self.n_samples += missing

    def _counted(self, block: np.ndarray) -> np.ndarray:
        self.n_samples += block.shape[1]
        return block
