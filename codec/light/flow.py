"""The bundled diffusion decoder without torch: networks in a graph, the rest of diffusion/flow.py in numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import HybridConfig
from ..diffusion.flow_config import LEVEL_BINS, LEVEL_FLOOR, LEVELS, TIME_FEATURES, FlowConfig
from ..diffusion.noise_span import noise_span
from .states import MOST_FRAMES, Arrays, DecoderState, Open, run_decoder

COMPAND_GAIN, MAGNITUDE_FLOOR = np.float32(3.0), np.float32(1e-8)  # as in modules/hybrid.py

Floats = NDArray[np.float32]


@dataclass
class FlowState:
    """What a streaming decoder keeps between two calls."""

    first: DecoderState  # of the convolutional decoder
    samples: Floats  # [B, n]: its audio that later frames need
    latents: Floats  # [B, n, D]: of frames that wait for that audio
    tail: Floats  # [B, block]: second half of the last block
    first_frame: int  # number of the stream's first frame in the whole signal
    pasts: list[Arrays]  # for each step
    n_frames: int = 0  # decoded so far


class LightFlow:
    """Latents [B, T, D] -> audio [B, 1, n]: the convolutional decoder, followed by the flow.

    `steps` is the number of steps along the flow (None: the default), `seed` decides the noise.
    """

    def __init__(self, config: FlowConfig, steps: int | None, seed: int, open_first: Open, open_flow: Open) -> None:
        self.config, self.steps, self.seed = config, config.steps if steps is None else steps, seed
        self._open_first, self._open_flow = open_first, open_flow
        self._block = config.hop_length // config.n_blocks  # samples
        n, k = np.arange(2 * self._block) + 0.5, np.arange(self._block)[:, None] + 0.5
        window = np.sin(math.pi / (2 * self._block) * n)
        basis = np.cos(math.pi / self._block * (n + self._block / 2) * k) * window * math.sqrt(2 / self._block)
        self._basis = basis.astype(np.float32)  # modules/spectral.py
        quarter = window[self._block // 2 : self._block].astype(np.float32)
        self._edge = 1 / (quarter * quarter)

    def reach(self, first: tuple[int, int]) -> tuple[int, int]:
        """Return how many frames before and after its own frame a sample depends on, given those of the first decoder."""
        context = self.steps * self.config.depth * (self.config.kernel_size - 1)
        return first[0] + context + 2, first[1] + 2

    def initial_state(self, hybrid: HybridConfig, batch_size: int, first_frame: int) -> FlowState:
        """Return the state before the first frame, which has the number `first_frame` in the whole signal."""
        config = self.config
        shape = batch_size, config.kernel_size - 1, config.width
        names = [f"past.{band}.{i}" for band in range(len(config.edges) - 1) for i in range(config.depth)]
        return FlowState(
            DecoderState.first(hybrid, config.dimension, batch_size, first_frame),
            np.zeros((batch_size, self._block // 2), np.float32),
            np.zeros((batch_size, 0, config.dimension), np.float32),
            np.zeros((batch_size, self._block), np.float32),
            first_frame,
            [{name: np.zeros(shape, np.float32) for name in names} for _ in range(self.steps)],
        )

    def run(self, latents: Floats, state: FlowState, last: bool) -> Iterator[Floats]:
        """Yield the samples [B, 1, n] that no frame after these latents [B, T, D] changes; with `last`, all that are left."""
        hop, half = self.config.hop_length, self._block // 2
        wavs = [wav[:, 0] for wav in run_decoder(self._open_first, latents, state.first, last)]
        end = np.zeros((len(latents), half if last else 0), np.float32)
        state.samples = np.concatenate([state.samples, *wavs, end], axis=1)
        state.latents = np.concatenate([state.latents, latents], axis=1)
        while (n_frames := min(max(0, state.samples.shape[1] - self._block) // hop, MOST_FRAMES)) > 0:
            found = self._sample(self._analyse(state.samples, n_frames), state.latents[:, :n_frames], state)
            state.samples, state.latents = state.samples[:, n_frames * hop :], state.latents[:, n_frames:]
            part, state.tail = self._synthesise(found, state.tail)
            if state.n_frames == 0:  # the first block has nothing to overlap with, as in the convolutional decoder
                part = np.concatenate([part[:, half : 2 * half] * self._edge, part[:, 2 * half :]], axis=1)
            state.n_frames += n_frames
            yield part[:, None]
        if last and state.n_frames:
            yield (state.tail[:, :half] * self._edge[::-1])[:, None]

    def _analyse(self, samples: Floats, n_frames: int) -> Floats:
        """Return the companded coefficients [B, T, hop] of frames; the samples start half a block early."""
        n_blocks = self.config.n_blocks
        blocks = np.lib.stride_tricks.sliding_window_view(samples, 2 * self._block, axis=1)[:, :: self._block]
        bins = blocks[:, : n_frames * n_blocks] @ self._basis.T
        by_bin = bins.reshape(len(samples), n_frames, n_blocks, self._block).swapaxes(2, 3).reshape(len(samples), n_frames, -1)
        companded: Floats = COMPAND_GAIN * np.sign(by_bin) * np.sqrt(np.abs(by_bin) + MAGNITUDE_FLOOR)
        return companded

    def _synthesise(self, companded: Floats, tail: Floats) -> tuple[Floats, Floats]:
        """Return the finished samples [B, T * hop], from half a block before the first frame on, and the next tail."""
        expanded = np.sign(companded) * companded**2 / COMPAND_GAIN**2
        shape = *companded.shape[:2], self._block, self.config.n_blocks
        blocks = expanded.reshape(shape).swapaxes(2, 3).reshape(len(companded), -1, self._block) @ self._basis
        first, second = blocks[..., : self._block], blocks[..., self._block :]
        shifted = np.concatenate([tail[:, None], second[:, :-1]], axis=1)
        return (first + shifted).reshape(len(companded), -1), second[:, -1]

    def _sample(self, first: Floats, latents: Floats, state: FlowState) -> Floats:
        """Return the companded coefficients [B, T, hop] at the end of the flow, given those of the convolutional decoder."""
        levels = _levels(first)
        relative = first / levels
        x = relative
        feeds = {"relative": relative, "latents": np.ascontiguousarray(latents), "groups": _groups(np.log(levels))}
        if self.steps:
            x = x + np.float32(self.config.spread) * self._noise(state.first_frame + state.n_frames, first.shape[1])
        for i in range(self.steps):
            past = state.pasts[i]
            time, share = _time_features(i / self.steps), np.array([1 / (self.steps - i)], np.float32)
            names = ["x.out", *(f"{name}.out" for name in past)]
            x, *after = self._open_flow().run(names, {"x": x, "time": time, "share": share, **feeds, **past})
            state.pasts[i] = dict(zip(past, after, strict=True))
        return x * levels

    def _noise(self, first_frame: int, n_frames: int) -> Floats:
        """Return noise [T, hop] for the frames from `first_frame` on, the same for every batch item."""
        hop = self.config.hop_length
        return noise_span([self.seed, 0, 0, 0], first_frame * hop, n_frames * hop).reshape(n_frames, hop)


def _levels(companded: Floats) -> Floats:
    """Return the local level of companded coefficients, an average over neighbours: [B, T, hop], above zero."""
    reach, n_bins = LEVEL_BINS // 2, companded.shape[-1]
    padded = np.pad(companded**2, ((0, 0), (0, 0), (reach, reach)))
    total = sum(padded[..., i : i + n_bins] for i in range(LEVEL_BINS))
    place = np.arange(n_bins)
    count = np.minimum(place + reach, n_bins - 1) - np.maximum(place - reach, 0) + 1
    return np.sqrt(total / count.astype(np.float32) + np.float32(LEVEL_FLOOR**2))


def _groups(values: Floats) -> Floats:
    """Return the means of LEVELS groups of neighbouring bins: [B, T, hop] -> [B, T, LEVELS]."""
    n_bins = values.shape[-1]
    borders = [(i * n_bins // LEVELS, -(-(i + 1) * n_bins // LEVELS)) for i in range(LEVELS)]
    return np.stack([values[..., start:stop].mean(axis=-1) for start, stop in borders], axis=-1)


def _time_features(time: float) -> Floats:
    """Return sines and cosines of a time in [0, 1]: [1, TIME_FEATURES]."""
    rates = np.exp(np.linspace(0.0, math.log(64.0), TIME_FEATURES // 2)) * math.pi
    return np.concatenate([np.sin(time * rates), np.cos(time * rates)])[None].astype(np.float32)
