"""A multi-band diffusion decoder at frame rate: bands of MDCT coefficients, each with its own rectified flow.

The published decoder diffuses waveforms with one U-Net per band. This one works on MDCT coefficients at 75 frames a second,
as RFWave (Liu et al. 2024) does on spectra, with a hundredth of the computation. Bands do not see each other, so an error in
the bass cannot distort the treble. They share their conditions: the latents, and the output of the convolutional decoder.
The flow (Liu et al. 2022, "Flow straight and fast") does not start from pure noise but from that decoder's coefficients plus
noise in proportion to their level.

Each network predicts where the flow ends (the velocity at time t is the remaining distance over 1 - t) as the sum of the
convolutional decoder's coefficients, each with a gain, a share of the noise, and a correction. Untrained networks change
nothing. Several short blocks per frame follow changes of energy within a frame, which one block would smear.

Coefficients are companded (square root) and divided by a local level of the convolutional decoder's output, so the inputs
and outputs of the networks have a magnitude of about 1 in loud and in quiet frames.

Every part is causal, and noise depends on the frame: streamed output equals whole output, batched output equals single
output, and a span equals the same part of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..modules.convnext import CausalStack
from ..modules.hybrid import compand, expand
from ..modules.spectral import mdct_basis, overlap_add, sine_window
from ..protocols import Decoder
from .flow_config import LEVEL_BINS, LEVEL_FLOOR, LEVELS, MAX_GAIN, TIME_FEATURES, FlowConfig
from .noise import ItemNoise


@dataclass
class FlowState:
    """What a streaming decoder keeps between two calls."""

    first: object  # state of the convolutional decoder
    samples: Tensor  # [B, n]: its audio that later frames need
    latents: Tensor  # [B, D, n]: of frames that wait for that audio
    tail: Tensor  # [B, block]: second half of the last block
    first_frame: int  # number of the stream's first frame in the whole signal
    pasts: list[list[list[Tensor]]]  # for each step and band
    n_frames: int = 0  # decoded so far


class BandFlow(nn.Module):
    """Predicts where the flow of one band's coefficients ends."""

    def __init__(self, config: FlowConfig, n_bins: int) -> None:
        super().__init__()
        n_inputs = 2 * n_bins + config.dimension + LEVELS
        self.inp = nn.Linear(n_inputs, config.width)
        self.time = nn.Linear(TIME_FEATURES, config.width)
        self.stack = CausalStack(config.width, config.depth, config.expand, config.kernel_size)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, 3 * n_bins)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, condition: Tensor, time: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, n], condition [B, T, n + D + LEVELS], times [B] of the flow -> end of the flow [B, T, n], next past."""
        h = self.inp(torch.cat([x, condition], dim=-1)) + self.time(_time_features(time))[:, None]
        h, past = self.stack(h, past)
        gain, noise, rest = self.out(self.norm(h)).chunk(3, dim=-1)
        first = condition[..., : x.shape[-1]]
        return first * gain.clamp(-MAX_GAIN, MAX_GAIN).exp() + noise * (x - first) + rest, past


class MultiBandFlow(nn.Module):
    """All bands of a multi-band diffusion decoder."""

    basis: Tensor

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.bands = nn.ModuleList(BandFlow(config, b - a) for a, b in pairwise(config.edges))
        self.block = config.hop_length // config.n_blocks  # samples
        self.register_buffer("basis", mdct_basis(self.block).float(), persistent=False)

    def coefficients(self, audio: Tensor) -> Tensor:
        """Return the companded MDCT coefficients of a whole signal [B, N]: [B, T, hop] with T = ceil(N / hop).

        They are ordered by frequency; within each bin, the blocks of a frame are in order of time.
        """
        missing = -audio.shape[1] % self.config.hop_length
        return self.analyse(F.pad(audio, (self.block // 2, missing + self.block // 2)))

    def analyse(self, samples: Tensor) -> Tensor:
        """Return coefficients [B, T, hop] of the frames that samples [B, n] complete. The samples start half a block early."""
        hop, n_blocks = self.config.hop_length, self.config.n_blocks
        n_frames = max(0, samples.shape[1] - self.block) // hop
        if not n_frames:
            return samples.new_zeros(samples.shape[0], 0, hop)
        blocks = samples.unfold(1, 2 * self.block, self.block)[:, : n_frames * n_blocks] @ self.basis.T
        return compand(blocks.unflatten(1, (n_frames, n_blocks)).transpose(2, 3).flatten(2))

    def synthesise(self, coefficients: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Return the finished samples [B, T * hop], from half a block before the first frame on, and the next tail."""
        blocks = expand(coefficients).unflatten(2, (self.block, self.config.n_blocks)).transpose(2, 3).flatten(1, 2)
        return overlap_add(blocks @ self.basis, tail)

    def levels(self, coefficients: Tensor) -> Tensor:
        """Return the local level of companded coefficients, an average over neighbours: [B, T, hop], above zero."""
        power = F.avg_pool1d(coefficients.square(), LEVEL_BINS, 1, LEVEL_BINS // 2, count_include_pad=False)
        return (power + LEVEL_FLOOR**2).sqrt()

    def conditions(self, first: Tensor, levels: Tensor, latents: Tensor) -> list[Tensor]:
        """Return each band's condition: the convolutional decoder's coefficients [B, T, hop], levels, latents [B, D, T]."""
        z = latents.transpose(1, 2)
        groups = F.adaptive_avg_pool1d(levels.log(), LEVELS)
        relative = first / levels
        return [torch.cat([part, z, groups], dim=-1) for part in self._bands_of(relative)]

    def ends(
        self, x: Tensor, conditions: list[Tensor], time: Tensor, pasts: list[list[Tensor]]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Return where points x [B, T, hop] at times [B] flow to, and the next pasts. Points are relative to the levels."""
        parts, after = [], []
        for band, own, condition, past in zip(self.bands, self._bands_of(x), conditions, pasts, strict=True):
            part, past = band(own, condition, time, past)
            parts.append(part)
            after.append(past)
        return torch.cat(parts, dim=-1), after

    def initial_pasts(self, batch_size: int) -> list[list[Tensor]]:
        """Return the past of each band before the first frame: silence."""
        return [band.stack.initial_past(batch_size) for band in self.bands]  # type: ignore[union-attr, operator]

    def decode_from(self, first: Tensor, latents: Tensor, time: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """For training: return the end of the flow [B, T, hop] as predicted at times [B], and the levels; both companded.

        Items at times above zero have moved that far along their own straight path, as in decoding with a few steps.
        Shapes: coefficients [B, T, hop] of the convolutional decoder, latents [B, D, T], noise [B, T, hop].
        """
        levels = self.levels(first)
        conditions, pasts = self.conditions(first, levels, latents), self.initial_pasts(len(first))
        x = first / levels + self.config.spread * noise
        moved = time > 0
        if bool(moved.any()):
            with torch.no_grad():
                some = [condition[moved] for condition in conditions]
                pasts_of = [[past[moved] for past in band] for band in pasts]
                ends, _ = self.ends(x[moved], some, torch.zeros(len(x[moved])), pasts_of)
                x[moved] += time[moved, None, None] * (ends - x[moved])
        ends, _ = self.ends(x, conditions, time, pasts)
        return ends * levels, levels

    def _bands_of(self, x: Tensor) -> tuple[Tensor, ...]:
        edges = self.config.edges
        return x.split([b - a for a, b in pairwise(edges)], dim=-1)


class FlowDecoder(nn.Module):
    """Latents [B, D, T] -> audio [B, 1, T * hop]: a convolutional decoder, followed by the flow.

    It replaces the convolutional decoder of a codec. `seed` decides the noise, which is the same for each item of a batch.
    `steps` is the number of Euler steps along the flow; with 0 steps this is the convolutional decoder.
    """

    edge: Tensor

    def __init__(
        self,
        first: Decoder,
        flow: MultiBandFlow,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.first, self.flow = first, flow
        self.steps = flow.config.steps if steps is None else steps
        self.noise = ItemNoise([seed])
        # A frame's audio comes from the windows around it, and each window sees the audio of frames around its own.
        context = self.steps * flow.config.depth * (flow.config.kernel_size - 1)
        self.reach = first.reach[0] + context + 2, first.reach[1] + 2
        window = sine_window(flow.block).float()[flow.block // 2 : flow.block]
        self.register_buffer("edge", window.square().reciprocal(), persistent=False)

    def initial_state(self, batch_size: int, first_frame: int = 0) -> FlowState:
        """Return the state before the first frame, which has the number `first_frame` in the whole signal."""
        config = self.flow.config
        zeros = self.edge.new_zeros
        return FlowState(
            self.first.initial_state(batch_size, first_frame),
            zeros(batch_size, self.flow.block // 2),
            zeros(batch_size, config.dimension, 0),
            zeros(batch_size, self.flow.block),
            first_frame,
            [self.flow.initial_pasts(batch_size) for _ in range(self.steps)],
        )

    def forward(self, latents: Tensor, state: FlowState | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal, or its next block if `state` is given, which is updated in place."""
        hop, half = self.flow.config.hop_length, self.flow.block // 2
        state = state or self.initial_state(latents.shape[0])
        wav = self.first(latents, state.first, last)[:, 0]
        samples = torch.cat([state.samples, wav, wav.new_zeros(len(wav), half if last else 0)], dim=1)
        first = self.flow.analyse(samples)
        n_frames = first.shape[1]
        waiting = torch.cat([state.latents, latents], dim=2)
        state.samples, state.latents = samples[:, n_frames * hop :], waiting[..., n_frames:]
        parts = []
        if n_frames:
            found = self._sample(first, waiting[..., :n_frames], state)
            part, state.tail = self.flow.synthesise(found, state.tail)
            if state.n_frames == 0:  # the first block has nothing to overlap with, as in the convolutional decoder
                part = torch.cat([part[:, half : 2 * half] * self.edge, part[:, 2 * half :]], dim=1)
            state.n_frames += n_frames
            parts.append(part)
        if last and state.n_frames:
            parts.append(state.tail[:, :half] * self.edge.flip(0))
        return torch.cat(parts, dim=1)[:, None] if parts else latents.new_zeros(latents.shape[0], 1, 0)

    def _sample(self, first: Tensor, latents: Tensor, state: FlowState) -> Tensor:
        """Return the companded coefficients [B, T, hop] at the end of the flow, given those of the convolutional decoder."""
        levels = self.flow.levels(first)
        conditions = self.flow.conditions(first, levels, latents)
        x = first / levels
        if self.steps:
            x = x + self.flow.config.spread * self._noise(state.first_frame + state.n_frames, first)
        for i in range(self.steps):
            time = torch.full((len(x),), i / self.steps)
            ends, state.pasts[i] = self.flow.ends(x, conditions, time, state.pasts[i])
            x = x + (ends - x) / (self.steps - i)
        return x * levels

    def _noise(self, first_frame: int, like: Tensor) -> Tensor:
        """Return noise [1, T, hop] for the frames from `first_frame` on, the same for every batch item."""
        n_frames, hop = like.shape[1:]
        return self.noise.draw(0, 0, first_frame * hop, like.new_empty(1, 1, n_frames * hop)).view(1, n_frames, hop)


def _time_features(time: Tensor) -> Tensor:
    """Return sines and cosines of times [B] in [0, 1]: [B, TIME_FEATURES]."""
    rates = torch.exp(torch.linspace(0.0, math.log(64.0), TIME_FEATURES // 2)) * math.pi
    phase = time[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], dim=1)
