"""Many live streams that step together, one frame at a time. Each may join, leave or start anew at any step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...format.arguments import MOST_ITEMS, enough_memory, whole_number
from ...format.errors import ArgumentError
from ..codebook_count import codebook_count
from ..effort import paths_of
from .arguments import checked_codes, checked_wav
from .states import Arrays

if TYPE_CHECKING:
    from .codec import LightCodec

Rows = Sequence[int] | NDArray[Any]  # numbers of streams, or bool [B]


class StreamBatch(ABC):
    """Streams 0 ... B-1 of one codec, for a server: all of them encode, or decode, a frame in every step.

    `encoder_delay` is the number of steps from a block to its codes, `decoder_delay` that of samples from a frame's codes to
    its audio. Each kind of codec has a subclass.
    """

    encoder_delay: int
    decoder_delay: int

    def __init__(self, codec: LightCodec, n_streams: int) -> None:
        self._codec, self._config = codec, codec.config
        # Arrays [B, ...] that a stream keeps between two steps; `age` counts its steps.
        self._encoding, self._decoding = self._first(0)
        self.join(n_streams)

    def __len__(self) -> int:
        return len(self._encoding["age"])

    @property
    def bytes_per_stream(self) -> int:
        """What one stream keeps between two steps."""
        return sum(array.nbytes for state in self._first(1) for array in state.values())

    @abstractmethod
    def _first(self, n: int) -> tuple[Arrays, Arrays]:
        """Return the states of `n` new streams, for encoding and for decoding."""

    @abstractmethod
    def _latents(self, wav: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Step the encoder: blocks [B, C, hop] -> the quantizer's inputs [B, 1, D], and which of them are valid, bool [B]."""

    @abstractmethod
    def _audio(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Step the decoder: the quantizer's outputs [B, 1, D] -> audio [B, C, hop]."""

    def join(self, n: int = 1, first_frame: int = 0) -> range:
        """Add `n` new streams; returns their numbers, the highest ones.

        `first_frame` is the number of the first frame to decode, by which a split codec picks its noise: for the second stream
        of a stereo signal it is STREAM_FRAMES (noise_hash.py).
        """
        before = len(self)
        n = whole_number("the number of streams", n, 0, MOST_ITEMS - before)
        first_frame = whole_number("first_frame", first_frame)
        with enough_memory("the number of streams", n):
            firsts = self._first(n)
        for state, new in zip((self._encoding, self._decoding), firsts, strict=True):
            state.update({name: np.concatenate([array, new[name]]) for name, array in state.items()})
        self._number(slice(before, None), first_frame)
        return range(before, before + n)

    def leave(self, rows: Rows) -> None:
        """Remove streams. Those after them move up, in their order. Raises ValueError for an unknown stream."""
        places = _places(rows, len(self))
        for state in (self._encoding, self._decoding):
            state.update({name: np.delete(array, places, axis=0) for name, array in state.items()})

    def reset(self, rows: Rows, first_frame: int = 0) -> None:
        """Reset streams: their next block is the first of a signal. `first_frame` is as in `join`.

        Raises ValueError for an unknown stream.
        """
        places, first_frame = _places(rows, len(self)), whole_number("first_frame", first_frame)
        for state, new in zip((self._encoding, self._decoding), self._first(1), strict=True):
            _restart(state, new, places)
        self._number(places, first_frame)

    def _number(self, rows: slice | NDArray[Any], first_frame: int) -> None:
        if "number" in self._decoding:  # otherwise the codec has no noise
            self._decoding["number"][rows] = first_frame

    def encode(
        self, wav: NDArray[np.floating[Any]], kbps: float | None = None, n_codebooks: int | None = None, effort: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Encode the next block of every stream: [B, C, hop] -> codes [B, K, 1], and which of them are valid, bool [B].

        The codes are those of the block `encoder_delay` steps ago; before that, a stream has none. They equal those of
        `LightCodec.encode` with the same `effort`. Raises ValueError for another shape or type, and for NaN or infinity,
        with the numbers of the streams that have it; no stream is stepped then.
        """
        k, n_paths = codebook_count(self._config, kbps, n_codebooks), paths_of(self._config, effort)
        samples = self._checked(wav)
        if not len(self):
            return np.zeros((0, k, 1), np.int64), np.zeros(0, bool)
        latents, is_valid = self._latents(samples)
        self._encoding["age"] = self._encoding["age"] + 1
        codes: NDArray[np.int64] = self._codec.quantizer.encode(latents, k, n_paths)
        return codes, is_valid

    def _checked(self, wav: Any) -> NDArray[np.float32]:
        """Return blocks [B, C, hop] in float32. Raises ValueError for all else."""
        shape = [len(self), self._config.channels, self._config.hop_length]
        if hasattr(wav, "shape") and list(wav.shape) != shape:
            raise ArgumentError(f"wav must be {shape}, got {list(wav.shape)}")
        return checked_wav(wav, self._config.channels) if len(self) else np.zeros(shape, np.float32)

    def decode(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Decode the next frame of every stream: codes [B, k, 1] -> audio [B, C, hop], `decoder_delay` samples late.

        A stream begins with as many zeros. Raises ValueError for another shape, and for codes out of range.
        """
        config = self._config
        if not len(self) and np.ndim(codes) == 3 and codes.shape[::2] == (0, 1):
            return np.zeros((0, config.channels, config.hop_length), np.float32)
        checked = checked_codes(codes, config.n_codebooks, config.codebook_size)
        if checked.shape[::2] != (len(self), 1):
            raise ArgumentError(f"codes must be [{len(self)}, k, 1], got {list(checked.shape)}")
        wav = self._audio(self._codec.quantizer.decode(checked))
        self._decoding["age"] = self._decoding["age"] + 1
        return wav


class WindowBatch(StreamBatch):
    """Streams of a codec whose encoder takes windows of a signal: each stream keeps samples, and what layers keep.

    `window` is in samples.
    """

    def __init__(self, codec: LightCodec, n_streams: int, window: int) -> None:
        hop = codec.config.hop_length
        context = (window - hop) // 2
        self._window = window
        self.encoder_delay = -(-context // hop)
        self._n_kept = (self.encoder_delay + 1) * hop + context  # samples of a stream that its next frame needs
        super().__init__(codec, n_streams)

    @abstractmethod
    def _encoded(self, samples: NDArray[np.float32], past: Arrays) -> tuple[NDArray[np.float64], Arrays]:
        """Encode a window of every stream [B, window]; returns the quantizer's inputs [B, 1, D] and the new past."""

    def _latents(self, wav: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        state = self._encoding
        samples = state["samples"] = np.concatenate([state["samples"][:, self._config.hop_length :], wav[:, 0]], axis=1)
        past = {name: array for name, array in state.items() if name not in ("age", "samples")}
        latents, after = self._encoded(samples[:, : self._window], past)
        is_valid = state["age"] >= self.encoder_delay
        self._keep(self._encoding, after, ~is_valid)
        return latents, is_valid

    def _keep(self, state: Arrays, after: Arrays, is_early: NDArray[np.bool_]) -> None:
        """Take the state after a step; streams whose frame was not yet one of their signal keep their first state."""
        state.update(after)
        if is_early.any():
            first = self._first(1)[state is self._decoding]
            _restart(state, {name: first[name] for name in after}, is_early)


def _places(rows: Rows, n: int) -> NDArray[Any]:
    """Return rows of n streams as an index: integers, or bool [n]."""
    array = np.asarray(rows)
    if array.dtype == bool:
        if array.shape != (n,):
            raise ArgumentError(f"streams as bool must have shape [{n}], got {list(array.shape)}")
        return array
    if array.size and (array.dtype.kind not in "iu" or not 0 <= int(array.min()) <= int(array.max()) < n):
        raise ArgumentError(f"there are {n} streams, numbered from 0, got {rows!r}")
    return array.astype(np.intp)


def _restart(state: Arrays, first: Arrays, rows: NDArray[Any]) -> None:
    """Give streams the values of a new one, [1, ...]. A state may hold views of what a caller has: they are copied."""
    for name, array in first.items():
        state[name] = state[name].copy()
        state[name][rows] = array
