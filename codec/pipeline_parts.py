"""Common parts of encoding and decoding: block size, arrays of either runtime, and the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK_FRAMES = 300  # per call of a model: 4 s at 75 frames a second


@dataclass(frozen=True, slots=True)
class Result:
    """The result of encoding or decoding a file."""

    seconds: float  # of audio
    n_bytes: int  # of the .ecdc file
    channels: int
    sample_rate: int  # Hz, of the audio
    codebooks: tuple[int, ...] = ()  # K of each stream, if it does not change
    lost: tuple[str, ...] = ()  # a line about each damage, if damage was allowed

    @property
    def kbps(self) -> float:
        """Real bitrate of the file: all its bytes over its duration."""
        return 8 * self.n_bytes / 1000 / self.seconds if self.seconds else 0.0


def to_array(value: Any) -> np.ndarray:
    """Return what a codec gave, a tensor of any device or an array, as an array."""
    array: np.ndarray = value if isinstance(value, np.ndarray) else value.cpu().numpy()
    return array
