"""Resample streams with soxr."""

from __future__ import annotations

import numpy as np
import soxr


class Resampler:
    """Resamples a stream of blocks [C, n] with soxr. The output does not depend on the division into blocks."""

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="VHQ")

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """[C, n] -> [C, m], the samples that this block completes; `last` flushes the filter."""
        if self._stream is None:
            return block
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        return out.reshape(-1, self._channels).T


def resample_all(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample a whole signal [C, N] at once."""
    return Resampler(from_rate, to_rate, audio.shape[0])(audio, last=True)
