"""What both directions of the pipeline share: the size of blocks, tensors of arrays, and what a file became."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .model import Codec

BLOCK_FRAMES = 300  # per call of a model: 4 s at 75 frames a second


@dataclass(frozen=True, slots=True)
class Result:
    """What a file became."""

    seconds: float  # of audio
    n_bytes: int  # of the .ecdc side
    channels: int
    sample_rate: int  # Hz, of the audio side
    codebooks: tuple[int, ...] = ()  # K of each stream, if it does not change
    lost: tuple[str, ...] = ()  # a line about each damage, if damage was allowed

    @property
    def kbps(self) -> float:
        """What the file really is: all its bytes over its duration."""
        return 8 * self.n_bytes / 1000 / self.seconds if self.seconds else 0.0


def to_tensor(array: np.ndarray, codec: Codec) -> torch.Tensor:
    """Convert to a tensor on the codec's device. Read-only arrays are copied, because tensors are always writable."""
    return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(codec.device)


def to_scale(scale: float | None, codec: Codec) -> torch.Tensor | None:
    """A segment's scale as [1, 1]."""
    return None if scale is None else torch.tensor([[scale]], device=codec.device)
