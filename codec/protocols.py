"""The interfaces of exchangeable parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..format import Header
from .config import CodecConfig

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Audio to latents, for a whole signal or block by block."""

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of a stream before its first sample."""
        ...

    def __call__(self, wav: Tensor, state: Any | None = None, last: bool = True) -> Tensor:
        """[B, C, N] -> [B, D, T]; with a state, the frames that this block completes."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Latents to audio, for a whole signal or block by block."""

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames before and after its own frame a decoded sample depends on."""
        ...

    def initial_state(self, batch_size: int, first_frame: int = 0) -> Any:
        """Return the state of a stream before its first frame, which has the number `first_frame` in the whole signal."""
        ...

    def __call__(self, latents: Tensor, state: Any | None = None, last: bool = True) -> Tensor:
        """[B, D, T] -> [B, C, N]; with a state, the samples that this block completes."""
        ...


class Model(Protocol):
    """A codec of either runtime, as files need it: arrays in; arrays or tensors out (blocks.to_array)."""

    config: CodecConfig

    @property
    def token_space(self) -> bytes:
        """SHA-256 (32 bytes) of what gives the codes their meaning."""
        ...

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames before and after its own frame a decoded sample depends on."""
        ...

    def decode(self, codes: Any, n_samples: int | None = None) -> Any:
        """[B, k, T] -> [B, C, N]."""
        ...

    def streaming(self, batch_size: int = 1, first_frame: int = 0) -> AbstractContextManager[Any]:
        """Open a stream with `encode` and `decode` for blocks."""
        ...


@runtime_checkable
class TokenSource(Protocol):
    """Anything that generates codes for the writer, block by block."""

    def header(self) -> Header:
        """Return the stream's header."""
        ...

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield codes [R, t] as they are finished, uint16."""
        ...
