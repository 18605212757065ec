"""Many live streams of a causal EnCodec model that step together.

A stream's first block must be several frames long. So a stream waits for them, runs once by itself or with others that began
in the same step, and is late by as much from then on: its later frames wait in a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .batch import StreamBatch
from .names import DECODER, ENCODER
from .seanet_states import SeanetState, first_graph_past
from .states import Arrays

if TYPE_CHECKING:
    from .seanet_codec import SeanetLightCodec

Floats = NDArray[np.float32]
Pair = tuple[int, int]
RECURRENT = ("hidden.", "cell.")  # states [1, B, C] of a graph; a batch keeps them as [B, 1, C]


class SeanetBatch(StreamBatch):
    """Streams of a causal EnCodec model. See StreamBatch."""

    def __init__(self, codec: SeanetLightCodec, n_streams: int) -> None:
        hop = codec.config.hop_length
        encoder, decoder = codec.first_states(1)
        self._encoder = _Half(lambda: codec.session(ENCODER), ("wav", "latents"), encoder, (2, 1), (hop, 1))
        self._decoder = _Half(lambda: codec.session(DECODER), ("latents", "wav"), decoder, (1, 2), (1, hop))
        self.encoder_delay, self.decoder_delay = encoder.least - 1, (decoder.least - 1) * hop
        super().__init__(codec, n_streams)

    def _first(self, n: int) -> tuple[Arrays, Arrays]:
        return self._encoder.first(n), self._decoder.first(n)

    def _latents(self, wav: Floats) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        latents, is_valid = self._encoder.step(wav, self._encoding)
        return latents.astype(np.float64), is_valid

    def _audio(self, latents: Floats) -> Floats:
        return self._decoder.step(latents, self._decoding)[0]


class _Half:
    """The encoder or the decoder of a batch: names, axes of rows, and rows per frame of the graph's input and output."""

    def __init__(self, open_: Callable[[], Any], names: tuple[str, str], state: SeanetState, axes: Pair, sizes: Pair) -> None:
        self._open, self._names, self._axes, self._sizes, self.least = open_, names, axes, sizes, state.least
        shape = list(state.pending.shape)
        shape[axes[0]] = self.least * sizes[0]
        self._silence = np.zeros(shape, np.float32)
        # The shapes of a state are the same after every block: a block of silence tells them.
        self._silence_out, self._past = self._run(self._silence, None)

    def first(self, n: int) -> Arrays:
        """Return the state of `n` new streams: frames that wait to be the first block, frames that wait to leave, the past."""
        queue = np.split(self._silence_out, [self._sizes[1]], axis=self._axes[1])[1]
        arrays = {"pending": self._silence, "queue": queue, **self._past}
        zeros: Arrays = {name: np.zeros((n, *array.shape[1:]), np.float32) for name, array in arrays.items()}
        return {"age": np.zeros(n, np.int64), **zeros}

    def step(self, rows: Floats, state: Arrays) -> tuple[Floats, NDArray[np.bool_]]:
        """Give every stream its next frame; returns the frames that leave the queues, and which of them are valid, bool [B]."""
        begins, runs = state["age"] == self.least - 1, state["age"] >= self.least
        if not runs.all():
            later = np.split(state["pending"], [self._sizes[0]], axis=self._axes[0])[1]
            state["pending"] = np.concatenate([later, rows], axis=self._axes[0])
        new = np.zeros_like(np.split(self._silence_out, [self._sizes[1]], axis=self._axes[1])[0])
        new = np.repeat(new, len(rows), axis=0)
        if runs.any():  # what a stream that does not run yet gives and keeps is not used
            new, after = self._run(rows, {name: state[name] for name in self._past})
            state.update(after)
        queue = np.concatenate([state["queue"], new], axis=self._axes[1])
        if begins.any():
            queue[begins], started = self._run(state["pending"][begins], None)
            for name, array in started.items():
                state[name] = state[name].copy()  # onnxruntime's own memory may not be written
                state[name][begins] = array
        frame, state["queue"] = np.split(queue, [self._sizes[1]], axis=self._axes[1])
        is_valid = begins | runs
        return np.where(is_valid[:, None, None], frame, np.float32(0)), is_valid

    def _run(self, rows: Floats, past: Arrays | None) -> tuple[Floats, Arrays]:
        """Run the graph; without a past, the rows begin their signals."""
        session = self._open()
        known = first_graph_past(session, len(rows)) if past is None else _swapped(past)
        flags = {"first": np.array([past is None], np.int64), "last": np.zeros(1, np.int64)}
        names = [self._names[1], *(f"{name}.out" for name in known)]
        found, *after = session.run(names, {self._names[0]: np.ascontiguousarray(rows), **flags, **known})
        return found, _swapped(dict(zip(known, after, strict=True)))


def _swapped(past: Arrays) -> Arrays:
    """Exchange the first two axes of recurrent states."""
    swapped = {name: np.ascontiguousarray(past[name].swapaxes(0, 1)) for name in past if name.startswith(RECURRENT)}
    return past | swapped
