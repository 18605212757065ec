"""Many live streams that step together, one frame at a time. Each may join, leave or start anew at any step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...format.errors import ArgumentError
from ..config import CodecConfig, HybridConfig
from .arguments import checked_codes
from .numpy_encoder import NumpyEncoder
from .quantizer import Quantizer
from .states import Arrays, DecoderState, EncoderState, step_decoder, step_encoder

Rows = Sequence[int] | NDArray[Any]  # numbers of streams, or bool [B]


class StreamBatch:
    """Streams 0 ... B-1 of one codec, for a server: all of them encode, or decode, a frame in every step.

    `open_encoder` and `open_decoder` return the sessions of the graphs; `encoder` is used instead of the first, if it is given.
    """

    def __init__(
        self, config: CodecConfig, quantizer: Quantizer, open_encoder: Callable[[], Any], open_decoder: Callable[[], Any],
        encoder: NumpyEncoder | None, n_streams: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(config.architecture, HybridConfig)
        self._config, self._hybrid, self._quantizer = config, config.architecture, quantizer
        self._open_encoder, self._open_decoder, self._encoder = open_encoder, open_decoder, encoder
        hop = config.hop_length
        context = (self._hybrid.encoder_window - 1) * hop // 2
        self.encoder_delay = -(-context // hop)  # frames from a block to its codes
        self.decoder_delay = self._hybrid.lookahead * hop + hop // 2  # samples from a frame's codes to its audio
        self._n_kept = (self.encoder_delay + 1) * hop + context  # samples of a stream that its next frame needs
        self._encoding, self._decoding = self._first(0)
        self.join(n_streams)

    def __len__(self) -> int:
        return len(self._encoding["age"])

    def _first(self, n: int) -> tuple[Arrays, Arrays]:
        """Return the states of `n` new streams."""
        encoder = EncoderState.first(self._hybrid, n)
        decoder = DecoderState.first(self._hybrid, self._config.dimension, n)
        held = np.zeros((n, self._hybrid.lookahead, self._config.dimension), np.float32)
        age = np.zeros(n, np.int64)  # steps so far
        samples = np.zeros((n, self._n_kept), np.float32)
        return {"age": age, "samples": samples, **encoder.past}, {"age": age.copy(), "held": held, **decoder.past}

    def join(self, n: int = 1) -> range:
        """Add `n` new streams; returns their numbers, the highest ones."""
        before = len(self)
        for state, new in zip((self._encoding, self._decoding), self._first(n), strict=True):
            state.update({name: np.concatenate([array, new[name]]) for name, array in state.items()})
        return range(before, before + n)

    def leave(self, rows: Rows) -> None:
        """Remove streams. Those after them move up, in their order."""
        for state in (self._encoding, self._decoding):
            state.update({name: np.delete(array, _places(rows), axis=0) for name, array in state.items()})

    def reset(self, rows: Rows) -> None:
        """Start streams anew: their next block is the first of a signal."""
        for state, new in zip((self._encoding, self._decoding), self._first(len(self)), strict=True):
            _restore(state, new, _places(rows))

    def encode(
        self, wav: NDArray[np.floating[Any]], kbps: float | None = None, n_codebooks: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Encode the next block of every stream: [B, 1, hop] -> codes [B, K, 1], and which of them are valid, bool [B].

        The codes are those of the block `encoder_delay` steps ago; before that, a stream has none. They equal those of
        `LightCodec.encode`. Raises ValueError for another shape.
        """
        state, hop = self._encoding, self._config.hop_length
        if wav.shape != (len(self), 1, hop):
            raise ArgumentError(f"wav must be [{len(self)}, 1, {hop}], got {list(wav.shape)}")
        k = self._config.codebooks_for(kbps) if kbps is not None else n_codebooks or self._config.n_codebooks
        if not len(self):
            return np.zeros((0, k, 1), np.int64), np.zeros(0, bool)
        state["samples"] = np.concatenate([state["samples"][:, hop:], wav[:, 0].astype(np.float32)], axis=1)
        window = self._hybrid.encoder_window * hop
        past = {name: array for name, array in state.items() if name.startswith("past.")}
        samples = state["samples"][:, None, :window]
        latents, after = step_encoder(self._open_encoder, samples, past, self._encoder, hop, window)
        is_valid = state["age"] >= self.encoder_delay
        self._advance(0, after, ~is_valid)
        return self._quantizer.encode(latents, k), is_valid

    def decode(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Decode the next frame of every stream: codes [B, k, 1] -> audio [B, 1, hop], `decoder_delay` samples late.

        A stream begins with as many zeros. Raises ValueError for another shape, and for codes out of range.
        """
        state, hop = self._decoding, self._config.hop_length
        checked = checked_codes(codes, self._config.n_codebooks, self._config.codebook_size)
        if checked.shape[::2] != (len(self), 1):
            raise ArgumentError(f"codes must be [{len(self)}, k, 1], got {list(checked.shape)}")
        if not len(self):
            return np.zeros((0, 1, hop), np.float32)
        known = np.concatenate([state["held"], self._quantizer.decode(checked)], axis=1)
        past = {name: array for name, array in state.items() if name not in ("age", "held")}
        wav, _, after = step_decoder(self._open_decoder, known, past, self._hybrid.lookahead)
        age, first = state["age"], self._hybrid.lookahead
        wav = np.where((age < first)[:, None, None], np.float32(0), wav)
        wav[age == first, :, : hop // 2] = 0  # comes before the signal
        self._advance(1, after, age < first)
        state["held"] = known[:, 1:]
        return wav

    def _advance(self, which: int, after: Arrays, is_early: NDArray[np.bool_]) -> None:
        """Take the state after a step; streams whose frame was not yet one of their signal keep their first state.

        `which` is 0 for encoding, 1 for decoding.
        """
        state = (self._encoding, self._decoding)[which]
        state.update(after)
        if is_early.any():
            new = self._first(len(self))[which]
            _restore(state, {name: new[name] for name in after}, is_early)
        state["age"] = state["age"] + 1


def _places(rows: Rows) -> NDArray[Any]:
    """Return rows as an index: integers, or bool [B]."""
    array = np.asarray(rows)
    return array if array.dtype == bool else array.astype(np.intp)


def _restore(state: Arrays, new: Arrays, rows: NDArray[Any]) -> None:
    """Give rows of a state the values of another one."""
    for name, array in new.items():
        state[name][rows] = array[rows]
