"""Common parts of encoding and decoding: block size, conversion of arrays to tensors, and the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .model import Codec

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


def to_tensor(array: np.ndarray, codec: Codec) -> torch.Tensor:
    """Convert to a tensor on the codec's device. Read-only arrays are copied, because tensors are always writable."""
    return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(codec.device)


def to_scale(scale: float | None, codec: Codec) -> torch.Tensor | None:
    """Return a segment's scale as [1, 1]."""
    return None if scale is None else torch.tensor([[scale]], device=codec.device)
