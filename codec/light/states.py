"""Run the graphs of hybrid codecs over blocks of any length, with the state that they keep between two calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import HybridConfig
from ..modules.noise_hash import frame_noise
from .numpy_encoder import MOST_ROWS, NumpyEncoder

MOST_FRAMES = 100  # per run of a graph: what it computes then stays in the processor's cache

Arrays = dict[str, NDArray[Any]]
Open = Callable[[], Any]  # returns the session, which is opened only when there is work for it


@dataclass
class EncoderState:
    """What a streaming encoder keeps between two calls."""

    samples: NDArray[np.float32]  # [B, n]: received samples that later frames need
    past: Arrays  # inputs of the graph
    hop: int
    window: int  # samples

    @classmethod
    def first(cls, config: HybridConfig, batch_size: int) -> EncoderState:
        """Return the state before the first sample: silence."""
        window = config.encoder_window * config.hop_length
        samples = np.zeros((batch_size, (window - config.hop_length) // 2), np.float32)
        shape = batch_size, config.kernel_size - 1, config.encoder_width
        past = {f"past.{i}": np.zeros(shape) for i in range(config.encoder_depth)}
        return cls(samples, past, config.hop_length, window)


@dataclass
class DecoderState:
    """What a streaming decoder keeps between two calls."""

    held: NDArray[np.float32]  # [B, n, D]: latents of frames that wait for the next one
    past: Arrays  # inputs of the graph
    hop: int
    lookahead: int  # frames
    n_signs: int  # bins whose signs noise decides, if any; as many as all blocks of a frame have
    frame: int  # number of the next frame in the whole signal
    rest: NDArray[np.float32] | None = None  # [B, 1, hop / 2]: what follows if the signal ends here; None before its start

    @classmethod
    def first(cls, config: HybridConfig, dimension: int, batch_size: int, first_frame: int = 0) -> DecoderState:
        """Return the state before the first frame, which has the number `first_frame` in the whole signal."""
        shape = batch_size, config.kernel_size - 1, config.decoder_width
        past: Arrays = {f"past.{i}": np.zeros(shape, np.float32) for i in range(config.decoder_depth)}
        past["tail"] = np.zeros((batch_size, config.hop_length), np.float32)
        past["edge"] = np.tile(first_edge(config.hop_length), (batch_size, 1))
        held = np.zeros((batch_size, 0, dimension), np.float32)
        return cls(held, past, config.hop_length, config.lookahead, noise_size(config), first_frame)


def run_encoder(
    open_: Open, wav: NDArray[np.float32], state: EncoderState, last: bool, encoder: NumpyEncoder | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield the latents [B, T, D] of the frames that a block [B, 1, N] completes; with `last`, silence completes the last."""
    samples = np.concatenate([state.samples, wav[:, 0]], axis=1)
    hop, window = state.hop, state.window
    if last:
        context = (window - hop) // 2
        samples = np.pad(samples, ((0, 0), (0, -(samples.shape[1] - context) % hop + context)))
    n_frames = max(0, (samples.shape[1] - window) // hop + 1)
    size = MOST_FRAMES if encoder is None else max(1, MOST_ROWS // len(samples))
    for first in range(0, n_frames, size):
        stop = min(first + size, n_frames)
        part = samples[:, None, first * hop : (stop - 1) * hop + window]
        latents, state.past = step_encoder(open_, part, state.past, encoder, hop, window)
        yield latents
    state.samples = samples[:, n_frames * hop :].copy()


def run_decoder(open_: Open, latents: NDArray[np.float32], state: DecoderState, last: bool) -> Iterator[NDArray[np.float32]]:
    """Yield the samples [B, 1, n] that no frame after these latents [B, T, D] changes; with `last`, all that are left."""
    known = np.concatenate([state.held, latents], axis=1)
    if last and state.lookahead and known.shape[1]:
        known = np.pad(known, ((0, 0), (0, 1), (0, 0)))  # silence follows the last frame
    n_frames = max(0, known.shape[1] - state.lookahead)
    for first in range(0, n_frames, MOST_FRAMES):
        stop = min(first + MOST_FRAMES, n_frames)
        is_first = state.rest is None
        noise = frame_noise(state.frame, stop - first, state.n_signs)[None] if state.n_signs else None
        part = known[:, first : stop + state.lookahead]
        wav, state.rest, state.past = step_decoder(open_, part, state.past, state.lookahead, noise)
        state.frame += stop - first
        yield wav[..., state.hop // 2 :] if is_first else wav
    state.held = known[:, n_frames:].copy()
    if last and state.rest is not None:
        yield state.rest


def step_encoder(
    open_: Open, wav: NDArray[np.float32], past: Arrays, encoder: NumpyEncoder | None, hop: int, window: int
) -> tuple[NDArray[np.float64], Arrays]:
    """Encode the samples [B, 1, n] of whole windows with `encoder`, or else with the graph; return (latents, past)."""
    if encoder is not None:
        return encoder(np.lib.stride_tricks.sliding_window_view(wav[:, 0], window, axis=1)[:, ::hop], past)
    feeds = {"wav": np.ascontiguousarray(wav), "samples": wav[:, 0, :0], **past}
    latents, *after = open_().run(["latents", *(f"{name}.out" for name in past)], feeds)
    return latents, dict(zip(past, after, strict=True))


def step_decoder(
    open_: Open, known: NDArray[np.float32], past: Arrays, lookahead: int, noise: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], Arrays]:
    """Run the decoder's graph on latents [B, T + lookahead, D]; return the audio [B, 1, T * hop], `rest` and the past.

    `noise` [B or 1, T, bins] is that of these frames, for decoders with random signs.
    """
    feeds = {"latents": np.ascontiguousarray(known), **past}
    if lookahead:
        feeds["held"] = known[:, :0]
    if noise is not None:
        feeds["noise"] = noise
    wav, rest, *after = open_().run(["wav", "rest", *(f"{name}.out" for name in past)], feeds)
    return wav, rest, dict(zip(past, after, strict=True))


def noise_size(config: HybridConfig) -> int:
    """Return how much noise a frame's decoder takes: the bins of all its blocks, or none if it has no random signs."""
    return config.hop_length * (2 if config.fine_blocks else 1) if config.random_sign_bin else 0


def first_edge(hop: int) -> NDArray[np.float32]:
    """Return the first state `edge` [hop] of a decoder: the gain that its first long block lacks, minus one."""
    quarter = np.sin(math.pi / (2 * hop) * (np.arange(hop // 2, hop) + 0.5)).astype(np.float32)
    return np.concatenate([np.zeros(hop - hop // 2, np.float32), 1 / (quarter * quarter) - 1]).astype(np.float32)
