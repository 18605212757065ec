"""A multi-band diffusion decoder at frame rate: bands of MDCT coefficients, each with a rectified flow of its own.

Where the published decoder diffuses waveforms with a U-Net for each band, this one works on the coefficients of one MDCT,
75 frames a second, as RFWave (Liu et al. 2024) does on spectra: a hundredth of the work. Bands never see each other, so that
an error in the bass cannot distort the treble; they share what conditions them: the latents, and what the convolutional
decoder made of them. The flow (Liu et al. 2022, "Flow straight and fast") does not start at noise but at that decoder's own
coefficients with noise on top, in proportion to their level, and goes a straight way to those of the original.

Coefficients are companded (square root) and divided by a local level, which the convolutional decoder gives too; so all
that the networks see and say is about one in size, for loud frames and quiet ones alike.

Every part is causal, and noise is drawn frame by frame: streamed output equals whole output, and a batch its single rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..config import ConfigError, Strict
from ..modules.convnext import CausalStack
from ..modules.hybrid import compand, expand
from ..modules.spectral import mdct_basis, overlap_add, sine_window
from ..protocols import Decoder

TIME_FEATURES = 32
LEVEL_BINS = 9  # over which a local level is averaged
LEVEL_FLOOR = 0.03  # of a companded level: under the noise of 16-bit audio
LEVELS = 20  # groups of bins whose levels every band is told
LARGEST = 8.0  # of a velocity over its level; rarer ones are cut off in training


@dataclass(frozen=True, slots=True)
class FlowConfig(Strict):
    """The shape of the networks, and how far from the convolutional decoder's coefficients the flow starts."""

    hop_length: int = 320  # samples per frame
    dimension: int = 128  # D of the latents
    edges: tuple[int, ...] = (0, 40, 80, 160, 320)  # bins between which the bands lie; a bin is sample_rate / (2 hop)
    width: int = 192
    depth: int = 4
    expand: int = 3
    kernel_size: int = 7  # frames
    spread: float = 0.6  # of the noise at the start, over the local level
    steps: int = 6  # by default

    def __post_init__(self) -> None:
        falls = any(a >= b for a, b in pairwise(self.edges))
        if len(self.edges) < 2 or self.edges[0] != 0 or self.edges[-1] != self.hop_length or falls:
            raise ConfigError(f"FlowConfig.edges: must rise from 0 to {self.hop_length}, got {list(self.edges)}")


@dataclass
class FlowState:
    """What a streaming decoder remembers between two calls."""

    first: object  # of the convolutional decoder
    samples: Tensor  # [B, n]: of its audio, needed by frames to come
    latents: Tensor  # [B, D, n]: whose frames wait for that audio
    tail: Tensor  # [B, hop]: second half of the last block
    generators: list[torch.Generator]  # one for each row
    pasts: list[list[list[Tensor]]] = field(default_factory=list)  # of each step and band
    n_frames: int = 0  # decoded so far


class BandFlow(nn.Module):
    """The velocity of one band's coefficients."""

    def __init__(self, config: FlowConfig, n_bins: int) -> None:
        super().__init__()
        n_inputs = 2 * n_bins + config.dimension + LEVELS
        self.inp = nn.Linear(n_inputs, config.width)
        self.time = nn.Linear(TIME_FEATURES, config.width)
        self.stack = CausalStack(config.width, config.depth, config.expand, config.kernel_size)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, n_bins)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, condition: Tensor, time: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, n] and condition [B, T, n + D + LEVELS], at times [B] of the flow -> velocity [B, T, n], the next past."""
        h = self.inp(torch.cat([x, condition], dim=-1)) + self.time(_time_features(time))[:, None]
        h, past = self.stack(h, past)
        return self.out(self.norm(h)), past


class MultiBandFlow(nn.Module):
    """All bands of a multi-band diffusion decoder."""

    basis: Tensor

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.bands = nn.ModuleList(BandFlow(config, b - a) for a, b in pairwise(config.edges))
        self.register_buffer("basis", mdct_basis(config.hop_length).float(), persistent=False)

    def coefficients(self, audio: Tensor) -> Tensor:
        """Companded MDCT coefficients of a whole signal [B, N]: [B, T, hop] with T = ceil(N / hop)."""
        hop = self.config.hop_length
        missing = -audio.shape[1] % hop
        return self._frames(F.pad(audio, (hop // 2, missing + hop // 2)))

    def _frames(self, samples: Tensor) -> Tensor:
        """Coefficients of the windows that [B, n] samples complete."""
        hop = self.config.hop_length
        n_frames = max(0, samples.shape[1] // hop - 1)
        if not n_frames:
            return samples.new_zeros(samples.shape[0], 0, hop)
        return compand(samples.unfold(1, 2 * hop, hop)[:, :n_frames] @ self.basis.T)

    def levels(self, coefficients: Tensor) -> Tensor:
        """The local level of companded coefficients, each averaged over its neighbours: [B, T, hop], above zero."""
        power = F.avg_pool1d(coefficients.square(), LEVEL_BINS, 1, LEVEL_BINS // 2, count_include_pad=False)
        return (power + LEVEL_FLOOR**2).sqrt()

    def conditions(self, first: Tensor, levels: Tensor, latents: Tensor) -> list[Tensor]:
        """What each band is told: coefficients [B, T, hop] of the convolutional decoder, their levels, latents [B, D, T]."""
        z = latents.transpose(1, 2)
        groups = F.adaptive_avg_pool1d(levels.log(), LEVELS)
        relative = first / levels
        return [torch.cat([part, z, groups], dim=-1) for part in self._bands_of(relative)]

    def velocity(
        self, x: Tensor, conditions: list[Tensor], time: Tensor, pasts: list[list[Tensor]]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Velocities over levels [B, T, hop] at points x [B, T, hop] over levels, at times [B]; and the next pasts."""
        parts, after = [], []
        for band, own, condition, past in zip(self.bands, self._bands_of(x), conditions, pasts, strict=True):
            part, past = band(own, condition, time, past)
            parts.append(part)
            after.append(past)
        return torch.cat(parts, dim=-1), after

    def initial_pasts(self, batch_size: int) -> list[list[Tensor]]:
        """Silence before the first frame, for each band."""
        return [band.stack.initial_past(batch_size) for band in self.bands]  # type: ignore[union-attr, operator]

    def loss(self, first: Tensor, target: Tensor, latents: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the velocity in each band: [n_bands].

        Shapes: companded coefficients [B, T, hop] of the convolutional decoder and of the original, latents [B, D, T],
        times [B] in [0, 1], noise [B, T, hop].
        """
        levels = self.levels(first)
        wanted = (target - first) / levels - self.config.spread * noise
        start = first / levels + self.config.spread * noise
        point = start + time[:, None, None] * wanted
        found, _ = self.velocity(point, self.conditions(first, levels, latents), time, self.initial_pasts(len(first)))
        errors = (found - wanted.clamp(-LARGEST, LARGEST)).square()
        return torch.stack([part.mean() for part in self._bands_of(errors)])

    def _bands_of(self, x: Tensor) -> tuple[Tensor, ...]:
        edges = self.config.edges
        return x.split([b - a for a, b in pairwise(edges)], dim=-1)


class FlowDecoder(nn.Module):
    """Latents [B, D, T] -> audio [B, 1, T * hop]: a convolutional decoder, and the flow from what it gives.

    It stands in a codec in place of that decoder. `seed` decides the noise, each row's of a batch alike; `steps` are those
    of Euler's method along the flow. With no steps it is the convolutional decoder.
    """

    edge: Tensor

    def __init__(self, first: Decoder, flow: MultiBandFlow, steps: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.first, self.flow = first, flow
        self.steps = flow.config.steps if steps is None else steps
        self.seed = seed
        hop = flow.config.hop_length
        self.register_buffer("edge", sine_window(hop).float()[hop // 2 : hop].square().reciprocal(), persistent=False)

    def initial_state(self, batch_size: int) -> FlowState:
        """The state before the first frame."""
        config = self.flow.config
        zeros = self.edge.new_zeros
        return FlowState(
            self.first.initial_state(batch_size),
            zeros(batch_size, config.hop_length // 2),
            zeros(batch_size, config.dimension, 0),
            zeros(batch_size, config.hop_length),
            [torch.Generator().manual_seed(self.seed) for _ in range(batch_size)],
            [self.flow.initial_pasts(batch_size) for _ in range(self.steps)],
        )

    def forward(self, latents: Tensor, state: FlowState | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal, or the next block of one (`state` is then updated in place)."""
        hop, half = self.flow.config.hop_length, self.flow.config.hop_length // 2
        state = state or self.initial_state(latents.shape[0])
        wav = self.first(latents, state.first, last)[:, 0]
        samples = torch.cat([state.samples, wav, wav.new_zeros(len(wav), half if last else 0)], dim=1)
        first = self.flow._frames(samples)
        n_frames = first.shape[1]
        waiting = torch.cat([state.latents, latents], dim=2)
        state.samples, state.latents = samples[:, n_frames * hop :], waiting[..., n_frames:]
        parts = []
        if n_frames:
            out = expand(self._sample(first, waiting[..., :n_frames], state)) @ self.flow.basis
            block, state.tail = overlap_add(out, state.tail)
            if state.n_frames == 0:  # nothing overlaps on the left, as in the convolutional decoder
                block = torch.cat([block[:, half:hop] * self.edge, block[:, hop:]], dim=1)
            state.n_frames += n_frames
            parts.append(block)
        if last and state.n_frames:
            parts.append(state.tail[:, :half] * self.edge.flip(0))
        return torch.cat(parts, dim=1)[:, None] if parts else latents.new_zeros(latents.shape[0], 1, 0)

    def _sample(self, first: Tensor, latents: Tensor, state: FlowState) -> Tensor:
        """Companded coefficients [B, T, hop] at the end of the flow, from those of the convolutional decoder."""
        levels = self.flow.levels(first)
        conditions = self.flow.conditions(first, levels, latents)
        shape = first.shape[1:]
        # Sizes are multiples of 16, of which torch draws normal numbers: any cut into blocks gives the same ones.
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in state.generators])
        x = first / levels
        if self.steps:
            x = x + self.flow.config.spread * noise
        for i in range(self.steps):
            time = torch.full((len(x),), i / self.steps)
            velocity, state.pasts[i] = self.flow.velocity(x, conditions, time, state.pasts[i])
            x = x + velocity / self.steps
        return x * levels


def _time_features(time: Tensor) -> Tensor:
    """Sines and cosines of times [B] in [0, 1]: [B, TIME_FEATURES]."""
    rates = torch.exp(torch.linspace(0.0, math.log(64.0), TIME_FEATURES // 2)) * math.pi
    phase = time[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], dim=1)
