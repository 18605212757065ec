"""The small interfaces that everything plugs into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ..format import Header


@runtime_checkable
class Encoder(Protocol):
    """Audio to latents, whole or block by block."""

    def initial_state(self, batch_size: int) -> Any:
        """The state of a stream before its first sample."""
        ...

    def __call__(self, wav: Tensor, state: Any | None = None, last: bool = True) -> Tensor:
        """[B, C, N] -> [B, D, T]; with a state, the frames that this block completes."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Latents to audio, whole or block by block."""

    def initial_state(self, batch_size: int, first_frame: int = 0) -> Any:
        """The state of a stream before its first frame, which is number `first_frame` of the whole signal."""
        ...

    def __call__(self, latents: Tensor, state: Any | None = None, last: bool = True) -> Tensor:
        """[B, D, T] -> [B, C, N]; with a state, the samples that this block completes."""
        ...


@runtime_checkable
class TokenSource(Protocol):
    """Anything that makes codes for the writer, block by block."""

    def header(self) -> Header:
        """What the stream says before its first chunk."""
        ...

    def blocks(self) -> Iterator[np.ndarray]:
        """Codes [R, t] as they are finished, uint16."""
        ...
