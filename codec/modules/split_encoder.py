"""A codec that codes levels first: the loudness of each auditory band, then the signal relative to these levels.

The encoder measures and codes levels (levels.py). It puts the low MDCT bins, divided by a power of the decoded levels, into
the latent, together with the output of a network. The decoder multiplies by the levels again, so its network only has to
predict the fine structure; noise inputs fill in what no code describes. A last layer moves the output's levels towards the
coded ones by a share that the network chooses, and adds the bands above 12 kHz, which consist of levels and noise only.

The networks work at half the sampling rate (the core: 24 kHz for 48 kHz). In the last layer, the core's spectrum has the
same bins as the output's, so upsampling is free.

Latency: the encoder needs half a hop after a frame, a sample is final once the next frame's block overlaps it, and the last
layer waits for its windows of one hop. With hop 20 ms the total is 56.7 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..config import SplitConfig
from .convnext import CausalStack
from .levels import LevelAnalysis, LevelVQ, band_edges
from .linear_latents import LinearLatentEncoder
from .spectral import mdct_basis

SHAPE_GAIN = 2.0  # scales typical bins to about unit variance, where the quantizer starts
MAGNITUDE_FLOOR = 1e-8
MAX_RAISE_DB, MAX_CUT_DB = 12.0, 15.0  # of the last layer


@dataclass
class EncoderState:
    """What a streaming encoder keeps between two calls."""

    samples: Tensor  # [B, n]: received samples that later frames need
    past: list[Tensor]
    codes: Tensor  # [B, L, n_taps]: of the levels of the last frames


def level_features(levels: Tensor) -> Tensor:
    """Scale levels in dB to about unit size."""
    return (levels + 60.0) / 20.0


class Envelope(nn.Module):
    """Converts a frame's levels to an amplitude per MDCT bin, for the long block and for the short ones."""

    long_map: Tensor
    fine_map: Tensor

    def __init__(self, config: SplitConfig) -> None:
        super().__init__()
        hop, self.n_steps, self.n_bands = config.core_hop, config.steps, config.bands
        edges = band_edges(config.level_bin_hz, config.bands, 0)
        self.register_buffer("long_map", self._bands(hop, edges, config), persistent=False)
        self.register_buffer("fine_map", self._bands(hop // config.fine_blocks, edges, config), persistent=False)
        self.per_step = config.fine_blocks // config.steps
        self.reference = math.sqrt(config.core_window / 1.5)  # amplitude of an MDCT bin relative to that of a level of 0 dB

    @staticmethod
    def _bands(n_bins: int, edges: list[int], config: SplitConfig) -> Tensor:
        """Return the band of each bin, int64 [n_bins]."""
        hz = (torch.arange(n_bins, dtype=torch.float64) + 0.5) * config.core_rate / 2 / n_bins
        inner = torch.tensor(edges[1:-1], dtype=torch.float64) * config.level_bin_hz
        return torch.bucketize(hz, inner, right=True)

    def core(self, levels: Tensor) -> Tensor:
        """Return the bands of the core: [B, T, F] -> [B, T, steps, bands]."""
        return levels.unflatten(-1, (self.n_steps, -1))[..., : self.n_bands]

    def long(self, levels: Tensor) -> Tensor:
        """Levels [B, T, F] -> amplitudes [B, T, hop], from the mean power over the frame's steps."""
        power = torch.exp(self.core(levels) * (math.log(10) / 10)).mean(2)
        return power.sqrt()[..., self.long_map] * self.reference

    def fine(self, levels: Tensor) -> Tensor:
        """Levels [B, T, F] -> amplitudes [B, T, fine_blocks * bins of a block]."""
        amplitude = torch.exp(self.core(levels) * (math.log(10) / 20))[..., self.fine_map] * self.reference
        return amplitude.repeat_interleave(self.per_step, dim=2).flatten(-2)


class SplitEncoder(LinearLatentEncoder):
    """Audio [B, 1, N] -> latents [B, D + L, T] with T = ceil(N / hop): the shape, and the codes of the levels."""

    window: Tensor
    basis: Tensor

    def __init__(self, config: SplitConfig, dimension: int, levels: LevelVQ) -> None:
        super().__init__()
        self.config, self.hop, self.dimension = config, config.hop_length, dimension
        self._levels = [levels]  # in a list, so that it is not a submodule: it belongs to the quantizer and keeps its dtype
        rate = config.core_rate * config.core_factor
        self.analysis = LevelAnalysis(self.hop, rate, config.steps, config.bands, config.top_bands, config.slow_bands)
        self.envelope = Envelope(config)
        self.register_buffer("window", torch.hann_window(2 * self.hop, dtype=torch.float64).float(), persistent=False)
        basis = mdct_basis(self.hop)[: config.low_bins] / math.sqrt(config.core_factor)  # amplitudes as in the core's own MDCT
        self.register_buffer("basis", basis.float(), persistent=False)
        self.n_bins = self.hop // config.core_factor + 1
        width = config.encoder_width
        self.real, self.imaginary = (nn.Linear(self.n_bins, width, bias=False) for _ in range(2))
        self.level = nn.Linear(self.n_bins, width)
        self.exact_levels = nn.Linear(config.n_levels, width, bias=False)
        self.coded_levels = nn.Linear(config.n_levels, width, bias=False)
        self.stack = CausalStack(width, config.encoder_depth, config.expand, config.kernel_size)
        self.out = nn.Linear(width, dimension)
        self.skip = nn.Linear(config.low_bins, dimension, bias=False)
        with torch.no_grad():
            self.out.weight[: config.low_bins].mul_(0.03)  # the network starts in the dimensions that carry no bin
            self.skip.weight.copy_(torch.eye(dimension, config.low_bins))

    def initial_state(self, batch_size: int) -> EncoderState:
        """Return the state before the first sample: silence."""
        silence = self.window.new_zeros(batch_size, self.hop // 2)
        return EncoderState(silence, self.stack.initial_past(batch_size), self._levels[0].initial_codes(batch_size))

    def forward(self, wav: Tensor, state: EncoderState | None = None, last: bool = True) -> Tensor:
        """Encode a whole signal, or its next block if `state` is given, which is updated in place.

        Shapes: wav [B, 1, N] -> [B, D + L, T]. With `last` the final frame is completed with silence;
        without it, samples that do not yet complete a window are kept.
        """
        state = state or self.initial_state(wav.shape[0])
        samples, quantizer = torch.cat([state.samples, wav[:, 0]], dim=1), self._levels[0]
        if last:
            missing = -(samples.shape[1] - self.hop // 2) % self.hop
            samples = F.pad(samples, (0, missing + self.hop // 2))
        n_frames = max(0, (samples.shape[1] - self.hop) // self.hop)
        state.samples = samples[:, n_frames * self.hop :]
        if n_frames == 0:
            return samples.new_zeros(wav.shape[0], self.dimension + len(quantizer.codebooks), 0)
        frames = samples.unfold(1, 2 * self.hop, self.hop)[:, :n_frames]
        exact = self.analysis(frames)
        codes, base = quantizer.encode(exact, state.codes)
        shape = self.shape(frames, exact, base.to(exact.dtype), state)
        return torch.cat([shape, codes.to(shape.dtype)], dim=1)

    def shape(self, frames: Tensor, exact: Tensor, base: Tensor, state: EncoderState) -> Tensor:
        """Return the shape's latent [B, D, T] of frames [B, T, 2 * hop].

        `exact` are the frames' levels, `base` those decoded from the first codebook. Updates the network's past in `state`.
        """
        spectrum = torch.fft.rfft(frames * self.window)[..., : self.n_bins] / self.config.core_factor
        real, imaginary = spectrum.real, spectrum.imag
        log_power = (real.square() + imaginary.square() + MAGNITUDE_FLOOR).log()
        scale = torch.exp(-0.35 * log_power)  # raises magnitudes to the power 0.3
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.stack.computes_in_bfloat16):
            h = self.level(0.3 * log_power) + self.real(real * scale) + self.imaginary(imaginary * scale)
            h = h + self.exact_levels(level_features(exact)) + self.coded_levels(level_features(base))
            h, state.past = self.stack(h.to(frames.dtype), state.past)
        low = frames @ self.basis.T
        scaled = SHAPE_GAIN * low * self.envelope.long(base)[..., : self.config.low_bins] ** (self.config.exponent - 1)
        return (self.out(h) + self.skip(scaled)).transpose(1, 2)
