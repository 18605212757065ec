"""EnCodec without torch: graphs of its encoder and decoder, whole segments for the model at 48 kHz."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...format.arguments import whole_number
from ...format.errors import ArgumentError
from ..codebook_count import codebook_count
from ..config import SeanetConfig
from ..effort import paths_of
from ..segments import Segment, cut, loudness, overlap_add
from .arguments import checked_wav, item_count
from .codec import LightCodec, LightStream
from .names import DECODER, ENCODER
from .seanet_sizes import SeanetLayer, decoder_layers, encoder_layers, least_frames, streams
from .seanet_states import SeanetState, first_graph_past
from .states import Arrays

if TYPE_CHECKING:
    from .batch import StreamBatch

MOST_FRAMES = 25  # per run of a graph: what it computes then stays in the processor's cache


class SeanetLightCodec(LightCodec):
    """An EnCodec model. See LightCodec; models that work in segments have the methods of the torch codec for them."""

    def encode(self, wav: Any, kbps: float | None = None, n_codebooks: int | None = None, effort: int = 0) -> NDArray[np.int64]:
        """See LightCodec. Raises ValueError for a codec that works in scaled segments (use `encode_segments`)."""
        self._refuse_segments("use encode_segments and decode_segments")
        paths_of(self.config, effort)
        return self._encode(wav, kbps, n_codebooks)

    def decode(self, codes: Any, n_samples: int | None = None) -> NDArray[np.float32]:
        """See LightCodec."""
        n_samples = None if n_samples is None else whole_number("n_samples", n_samples, 0)
        stream = self.open_stream(item_count(codes), 0)
        return stream.decode(codes, last=True)[..., :n_samples]

    def encode_segments(self, wav: Any, kbps: float | None = None, n_codebooks: int | None = None) -> list[Segment]:
        """Encode audio [B, C, N] to segments; a codec without segments gives one. Raises ValueError as `encode` does."""
        return list(self.encode_segment_blocks([wav], kbps, n_codebooks))

    def decode_segments(self, segments: Iterable[Segment], n_samples: int | None = None) -> NDArray[np.float32]:
        """Decode segments to audio [B, C, N], cut to `n_samples` if given. Raises ValueError if there are no segments."""
        segments = list(segments)
        if not segments:
            raise ArgumentError("segments must be one or more, got none")
        return np.concatenate(list(self.decode_segment_blocks(segments)), axis=-1)[..., :n_samples]

    def encode_segment_blocks(
        self, blocks: Iterable[Any], kbps: float | None = None, n_codebooks: int | None = None
    ) -> Iterator[Segment]:
        """Like `encode_segments`, for blocks [B, C, n] of any length. Holds one segment at a time."""
        k, config = codebook_count(self.config, kbps, n_codebooks), self.config
        checked = (checked_wav(block, config.channels) for block in blocks)
        if config.segment_length and config.segment_stride:
            wavs = cut(checked, config.segment_length, config.segment_stride)
        else:
            wavs = iter([np.concatenate(list(checked), axis=-1)])
        for wav in wavs:
            scale = loudness(wav) if config.normalize else None
            yield Segment(self._encode(wav if scale is None else wav / scale[..., None], None, k), scale)

    def decode_segment_blocks(self, segments: Iterable[Segment]) -> Iterator[NDArray[np.float32]]:
        """Like `decode_segments`, in blocks [B, C, n]. Holds one segment at a time; the last block may be too long."""
        wavs = (self._decode_segment(s) for s in segments)
        return overlap_add(wavs, self.config.segment_stride) if self.config.segment_stride else wavs

    @contextlib.contextmanager
    def streaming(self, batch_size: int = 1, first_frame: int = 0) -> Iterator[LightStream]:
        """See LightCodec. Raises ValueError for codecs that work in scaled segments, or normalize over time."""
        self._refuse_segments("their segments are independent: encode them one by one")
        if not streams(self._seanet):
            raise ArgumentError("time_group_norm needs the whole signal: this model cannot stream")
        with super().streaming(batch_size, first_frame) as stream:
            yield stream

    def _open_batch(self, n_streams: int) -> StreamBatch:
        from .seanet_batch import SeanetBatch

        self._refuse_segments("their segments are independent: encode them one by one")
        if not streams(self._seanet) or not self._seanet.causal:
            raise ArgumentError(f"{self.config.name} has no batches of streams: it is not causal")
        return SeanetBatch(self, n_streams)

    def open_stream(self, batch_size: int, first_frame: int) -> LightStream:
        """Return a stream before its first block."""
        return SeanetStream(self, *self.first_states(batch_size))

    def first_states(self, batch_size: int) -> tuple[SeanetState, SeanetState]:
        """Return what encoder and decoder keep before their first blocks."""
        config, seanet = self.config, self._seanet
        sizes = seanet, config.channels, config.dimension
        wav = np.zeros((batch_size, config.channels, 0), np.float32)
        latents = np.zeros((batch_size, 0, config.dimension), np.float32)
        encoder = self._first_state(ENCODER, wav, 2, (encoder_layers(*sizes), config.hop_length))
        return encoder, self._first_state(DECODER, latents, 1, (decoder_layers(*sizes), 1))

    @property
    def _seanet(self) -> SeanetConfig:
        assert isinstance(self.config.architecture, SeanetConfig)
        return self.config.architecture

    def _first_state(self, name: str, none: NDArray[np.float32], axis: int, rows: tuple[list[SeanetLayer], int]) -> SeanetState:
        layers, rows_per_frame = rows
        if not streams(self._seanet):
            return SeanetState(none, axis, rows_per_frame, 1, None, False)
        least = least_frames(layers, self._seanet, rows_per_frame)
        return SeanetState(none, axis, rows_per_frame, least, {}, self._seanet.causal)

    def _encode(self, wav: Any, kbps: float | None, n_codebooks: int | None) -> NDArray[np.int64]:
        stream = self.open_stream(item_count(wav), 0)
        return stream.encode(wav, kbps, n_codebooks, last=True)

    def _decode_segment(self, segment: Segment) -> NDArray[np.float32]:
        wav = self.decode(segment.codes)
        if segment.codes.shape[1] == 0:
            return np.zeros_like(wav)  # a lost segment has no codes
        return wav if segment.scale is None else wav * segment.scale[..., None]

    def _refuse_segments(self, advice: str) -> None:
        if self.config.segment_length or self.config.normalize:
            raise ArgumentError(f"{self.config.name} codes scaled segments: {advice}")


class SeanetStream(LightStream):
    """One stream through an EnCodec model. See LightStream."""

    def _latents(self, wav: NDArray[np.float32], last: bool) -> Iterator[NDArray[np.float64]]:
        for latents in run(self.codec, ENCODER, wav, self._encoder, last):
            yield latents.astype(np.float64)

    def _audio(self, latents: NDArray[np.float32], last: bool) -> Iterator[NDArray[np.float32]]:
        return run(self.codec, DECODER, latents, self._decoder, last)


def run(
    codec: LightCodec, name: str, rows: NDArray[np.float32], state: SeanetState, last: bool
) -> Iterator[NDArray[np.float32]]:
    """Yield what a graph makes of the next rows. With `last`, the signal ends with them."""
    state.pending = np.concatenate([state.pending, rows], axis=state.axis)
    while True:
        n_rows = state.pending.shape[state.axis]
        n_frames = n_rows // state.rows_per_frame
        if state.past is None or (last and n_frames <= MOST_FRAMES):
            break
        wanted = 1 if state.started else state.least
        if n_frames < wanted:
            break
        # The last rows of a signal that has not started yet must be enough to start it, or stay with the others.
        yield _run_graph(codec, name, state, min(n_frames, max(MOST_FRAMES, wanted)) * state.rows_per_frame, False)
    if last and (n_rows or (state.started and not state.causal)):
        yield _run_graph(codec, name, state, n_rows, True)


def _run_graph(codec: LightCodec, name: str, state: SeanetState, n_rows: int, last: bool) -> NDArray[np.float32]:
    """Give the next rows to the graph, and keep its state."""
    session = codec.session(name)
    taken, state.pending = np.split(state.pending, [n_rows], axis=state.axis)
    state.pending = state.pending.copy()
    feeds: Arrays = {"wav" if name == ENCODER else "latents": np.ascontiguousarray(taken)}
    output = "latents" if name == ENCODER else "wav"
    if state.past is None:
        return session.run([output], feeds)[0]  # type: ignore[no-any-return]
    if not state.started:
        state.past = first_graph_past(session, len(taken))
    feeds |= {"first": np.array([not state.started], np.int64), "last": np.array([last], np.int64), **state.past}
    state.started = True
    found, *after = session.run([output, *(f"{name}.out" for name in state.past)], feeds)
    state.past = dict(zip(state.past, after, strict=True))
    return found  # type: ignore[no-any-return]
