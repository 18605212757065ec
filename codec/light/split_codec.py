"""The split codec without torch: graphs for networks, numpy for the search of levels and for noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import CodecConfig, SplitConfig
from ..modules.bands import FLOOR_DB
from ..modules.noise_hash import frame_noise
from .codec import DECODER, ENCODER, LightCodec, LightStream, read_tensors
from .numpy_split_encoder import NumpySplitEncoder
from .split_quantizer import LevelQuantizer, SplitQuantizer, quantizer_of
from .split_sizes import dropped_samples, hiss_bins, unfinished_windows
from .states import Arrays

LEVELS, ENDING = "levels.onnx", "end.onnx"
# Frames that are computed at once: enough to use each weight often, few enough for the processor's cache.
ENCODED_FRAMES, DECODED_FRAMES = 100, 100
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


@dataclass
class SplitEncoderState:
    """What a streaming encoder keeps between two calls."""

    samples: NDArray[np.float32]  # [B, n]: received samples that later frames need
    past: Arrays  # inputs of the encoder
    codes: NDArray[np.int64]  # [B, L, n_taps]: of the levels of the last frames


@dataclass
class SplitDecoderState:
    """What a streaming decoder keeps between two calls."""

    past: Arrays  # inputs of the graph
    first_frame: int  # number of the stream's first frame in the whole signal
    n_frames: int = 0  # decoded so far
    ending: NDArray[np.float32] | None = None  # [B, n]: what ends the core if the signal ends here


class SplitLightCodec(LightCodec):
    """A split codec. See LightCodec."""

    def open_stream(self, batch_size: int, first_frame: int) -> LightStream:
        """Return a stream before its first block."""
        split = self.config.architecture
        assert isinstance(split, SplitConfig)
        levels: LevelQuantizer = self.quantizer.levels
        past = {
            f"past.{i}": np.zeros((batch_size, split.kernel_size - 1, split.encoder_width)) for i in range(split.encoder_depth)
        }
        samples = np.zeros((batch_size, split.hop_length // 2), np.float32)
        encoder = SplitEncoderState(samples, past, levels.search.first_past(batch_size))
        return SplitStream(self, encoder, SplitDecoderState(first_past(split, batch_size), first_frame))

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
    for first in range(0, n_frames, ENCODED_FRAMES):
        stop = min(first + ENCODED_FRAMES, n_frames)
        taken = np.ascontiguousarray(samples[:, first * hop : (stop + 1) * hop])
        encoder: NumpySplitEncoder | GraphEncoder = codec.numpy_encoder or GraphEncoder(codec)
        levels = encoder.levels(taken)
        codes, base = levels_quantizer.search(levels, state.codes)
        shape, state.past = encoder(taken, levels, base, state.past)
        yield np.concatenate([shape, codes.transpose(0, 2, 1)], axis=2)
    state.samples = samples[:, n_frames * hop :].copy()


class GraphEncoder:
    """The graphs of levels and of the encoder, called as NumpySplitEncoder is."""

    def __init__(self, codec: LightCodec) -> None:
        self._codec = codec

    def levels(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the levels [B, T, F] in dB of samples [B, (T + 1) * hop]."""
        levels: NDArray[np.float64] = self._codec.session(LEVELS).run(["levels"], self._audio(samples))[0]
        return levels

    def __call__(
        self, samples: NDArray[np.float32], levels: NDArray[np.float64], base: NDArray[np.float64], past: Arrays
    ) -> tuple[NDArray[np.float64], Arrays]:
        """Encode; see NumpySplitEncoder."""
        names = ["latents", *(f"{name}.out" for name in past)]
        feeds = self._audio(samples) | {"levels": levels, "base": base} | past
        shape, *after = self._codec.session(ENCODER).run(names, feeds)
        return shape, dict(zip(past, after, strict=True))

    @staticmethod
    def _audio(samples: NDArray[np.float32]) -> Arrays:
        return {"wav": samples[:, None], "samples": samples[:, :0]}


def first_past(config: SplitConfig, batch_size: int) -> Arrays:
    """Return the inputs of a decoder before the first frame of a stream."""
    hop, step, n_kept = config.core_hop, config.core_hop // config.steps, unfinished_windows(config) + 1
    shapes = {f"past.{i}": (config.kernel_size - 1, config.decoder_width) for i in range(config.decoder_depth)}
    shapes["entries"] = config.level_taps, len(config.level_places) * config.n_levels
    shapes["overlap"] = 2, step * config.core_factor
    past: Arrays = {name: np.zeros((batch_size, *shape), np.float32) for name, shape in shapes.items()}
    n_groups = len(config.gain_groups)
    past["tail"] = np.zeros((batch_size, n_groups + 1, hop), np.float32)
    if config.gain_points:
        past["gain"] = np.zeros((batch_size, 1, n_groups, 1), np.float32)
    past["samples"] = np.zeros((batch_size, (n_kept + 1) * step - hop // 2), np.float32)
    past["first"] = np.ones((batch_size, 1), np.float32)
    past["targets"] = np.zeros((batch_size, n_kept, 2 * config.bands + config.top_bands), np.float32)
    past["targets"][:, :-1, : config.bands + config.top_bands] = FLOOR_DB
    return past


def run_decoder(
    open_: OpenNamed, config: SplitConfig, latents: NDArray[np.float32], state: SplitDecoderState, last: bool
) -> Iterator[NDArray[np.float32]]:
    """Yield the samples [B, 1, n] that no frame after these latents [B, T, D] changes; with `last`, all that are left."""
    n_early = unfinished_windows(config)
    for first in range(0, latents.shape[1], DECODED_FRAMES):
        block = np.ascontiguousarray(latents[:, first : first + DECODED_FRAMES])
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


def hiss(config: SplitConfig, first_window: int, n_windows: int) -> Arrays:
    """Return the noise of the bands above the core, for the windows from `first_window` on; nothing if there are none."""
    if config.core_factor == 1:
        return {}
    n_above, n_bins = hiss_bins(config), config.core_window * config.core_factor // 2 + 1
    noise = frame_noise(first_window, n_windows, 2 * n_bins, stream=1).reshape(n_windows, 2, n_bins)
    return {"hiss": np.ascontiguousarray(noise[:, :, -n_above:].reshape(1, n_windows, 2 * n_above))}
