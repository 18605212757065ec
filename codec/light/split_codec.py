"""The split codec without torch: graphs for networks, numpy for the search of levels and for noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import CodecConfig, SplitConfig
from ..modules.noise_hash import frame_noise
from .codec import LightCodec, LightStream, read_tensors
from .names import DECODER, ENDING
from .numpy_split_encoder import NumpySplitEncoder
from .split_quantizer import LevelQuantizer, SplitQuantizer, quantizer_of
from .split_sizes import dropped_samples, unfinished_windows
from .split_states import GraphEncoder, SplitDecoderState, SplitEncoderState, first_encoder_past, first_past, hiss

if TYPE_CHECKING:
    from .batch import StreamBatch

# Frames of all batch items together that are computed at once: many use each weight often, few need little memory.
ENCODED_FRAMES, DECODED_FRAMES = 400, 200
OpenNamed = Callable[[str], Any]  # returns the session of a graph


def load_split_quantizer(config: CodecConfig, path: Path) -> SplitQuantizer:
    """Read the quantizer of a split codec. Raises CheckpointError, with one line."""
    split = config.architecture
    assert isinstance(split, SplitConfig)
    n_books, n, size = len(split.level_places), split.n_levels, config.codebook_size
    shapes: dict[str, tuple[int, ...]] = {
        "quantizer.levels.codebooks": (n_books, size, n),
        "quantizer.levels.taps": (n_books, split.level_taps, n, n),
        "quantizer.levels.mean": (n,),
        "quantizer.shape.codebooks": (config.n_codebooks - n_books, size, config.dimension),
        "quantizer.shape.scales": (size,),
    }
    return quantizer_of(split, read_tensors(path, shapes))


class SplitLightCodec(LightCodec):
    """A split codec. See LightCodec."""

    decoding_graphs = DECODER, ENDING

    def open_stream(self, batch_size: int, first_frame: int) -> LightStream:
        """Return a stream before its first block."""
        split = self.config.architecture
        assert isinstance(split, SplitConfig)
        levels: LevelQuantizer = self.quantizer.levels
        samples = np.zeros((batch_size, split.hop_length // 2), np.float32)
        encoder = SplitEncoderState(samples, first_encoder_past(split, batch_size), levels.search.first_past(batch_size))
        return SplitStream(self, encoder, SplitDecoderState(first_past(split, batch_size), first_frame))

    def _open_batch(self, n_streams: int) -> StreamBatch:
        from .split_batch import SplitBatch

        return SplitBatch(self, n_streams)

    def _build_encoder(self, tensors: dict[str, NDArray[Any]]) -> NumpySplitEncoder:
        split = self.config.architecture
        assert isinstance(split, SplitConfig)
        return NumpySplitEncoder(split, self.config.dimension, tensors)


class SplitStream(LightStream):
    """One stream through a split codec. See LightStream."""

    def _latents(self, wav: NDArray[np.float32], last: bool) -> Iterator[NDArray[np.float64]]:
        return run_encoder(self.codec, wav, self._encoder, last)

    def _audio(self, latents: NDArray[np.float32], last: bool) -> Iterator[NDArray[np.float32]]:
        split = self.codec.config.architecture
        assert isinstance(split, SplitConfig)
        return run_decoder(self.codec.session, split, latents, self._decoder, last)


def run_encoder(
    codec: LightCodec, wav: NDArray[np.float32], state: SplitEncoderState, last: bool
) -> Iterator[NDArray[np.float64]]:
    """Yield shapes and level codes [B, T, D + L] of the frames that a block [B, 1, N] completes.

    With `last`, silence completes the last frame.
    """
    samples, hop = np.concatenate([state.samples, wav[:, 0]], axis=1), codec.config.hop_length
    if last:
        samples = np.pad(samples, ((0, 0), (0, -(samples.shape[1] - hop // 2) % hop + hop // 2)))
    n_frames = max(0, (samples.shape[1] - hop) // hop)
    levels_quantizer: LevelQuantizer = codec.quantizer.levels
    size = max(1, ENCODED_FRAMES // max(1, len(samples)))
    for first in range(0, n_frames, size):
        stop = min(first + size, n_frames)
        taken = np.ascontiguousarray(samples[:, first * hop : (stop + 1) * hop])
        encoder: NumpySplitEncoder | GraphEncoder = codec.numpy_encoder or GraphEncoder(codec)
        levels = encoder.levels(taken)
        codes, base = levels_quantizer.search(levels, state.codes)
        shape, state.past = encoder(taken, levels, base, state.past)
        yield np.concatenate([shape, codes.transpose(0, 2, 1)], axis=2)
    state.samples = samples[:, n_frames * hop :].copy()


def run_decoder(
    open_: OpenNamed, config: SplitConfig, latents: NDArray[np.float32], state: SplitDecoderState, last: bool
) -> Iterator[NDArray[np.float32]]:
    """Yield the samples [B, 1, n] that no frame after these latents [B, T, D] changes; with `last`, all that are left."""
    n_early = unfinished_windows(config)
    size = max(1, DECODED_FRAMES // max(1, len(latents)))
    for first in range(0, latents.shape[1], size):
        block = np.ascontiguousarray(latents[:, first : first + size])
        n, frame = block.shape[1], state.first_frame + state.n_frames
        noise = frame_noise(frame, n, 2 * config.core_hop)[None]
        feeds = {"latents": block, "noise": noise, **state.past}
        feeds |= hiss(config, frame * config.steps - n_early, n * config.steps)
        names = ["wav", "ending", *(f"{name}.out" for name in state.past)]
        wav, state.ending, *after = open_(DECODER).run(names, feeds)
        state.past = dict(zip(state.past, after, strict=True))
        n_before = state.n_frames * config.hop_length
        state.n_frames += n
        yield wav[..., max(0, dropped_samples(config) - n_before) :]
    if last and state.ending is not None:
        kept = {name: state.past[name] for name in ("samples", "targets", "overlap")}
        window = (state.first_frame + state.n_frames) * config.steps - n_early
        feeds = {"ending": state.ending, **kept, **hiss(config, window, n_early + 2)}
        (wav,) = open_(ENDING).run(["wav"], feeds)
        n_before = state.n_frames * config.hop_length
        yield wav[..., max(0, dropped_samples(config) - n_before) :]
