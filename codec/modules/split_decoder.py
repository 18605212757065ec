"""The decoder of a split codec (see split_encoder.py): from levels, shape and noise to audio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..config import SplitConfig
from .bands import between_points, free_bins, treble_raise
from .convnext import CausalStack
from .levels import FLOOR_DB, RANGE_DB, SILENT_MARGIN_DB, LevelVQ, band_edges, band_means
from .linear_latents import LinearLatentDecoder
from .noise import frame_noise
from .spectral import fine_basis, mdct_basis, overlap_add, sine_window
from .split_encoder import SHAPE_GAIN, Envelope, level_features

MAX_RAISE_DB, MAX_CUT_DB = 12.0, 15.0  # of the last layer
MOST_GAIN = 2.5  # nepers, of the gain over time: 22 dB up or down
HISS_BINS = 8  # bins of a block that share one noise gain
OVERLAP = 3  # windows of the last layer that cover each sample
WINDOW_POWER = 0.375 * OVERLAP  # sum of the squares of those windows


@dataclass
class DecoderState:
    """What a streaming decoder keeps between two calls."""

    entries: Tensor  # [B, L, n_taps, F]: level entries of the last frames
    past: list[Tensor]
    tail: Tensor  # [B, G, core_hop]: second half of the last long block, for every group of bins
    fine_tail: Tensor  # [B, core_hop]: second half of the last short blocks
    samples: Tensor  # [B, n]: samples of the core that wait for the last layer
    targets: Tensor  # [B, n, 2 * bands + top_bands]: levels and shares of waiting windows
    output_tail: Tensor  # [B, (OVERLAP - 1) * step]: of the last layer's windows
    gain: Tensor  # [B, G, 1]: of each group of bins at the end of the last samples, in nepers
    frame: int  # number of the next frame in the signal
    n_frames: int = 0  # decoded so far
    n_dropped: int = 0  # samples from the last layer before the first of the signal


@dataclass
class DecoderInputs:
    """The inputs of the decoder's network."""

    shape: Tensor  # [B, T, D]
    levels: Tensor  # [B, T, F] dB, from all codebooks
    base: Tensor  # [B, T, F] dB, from the first codebook
    flags: Tensor  # [B, T, 2]


@dataclass
class Coefficients:
    """What the decoder's network says about a block of frames."""

    long: Tensor  # [B, T, hop] of MDCT blocks
    fine: Tensor  # [B, T, hop] of short MDCT blocks
    share: Tensor  # [B, T, steps, bands]: how far the last layer moves levels
    gains: Tensor | None  # [B, G, T, points] in nepers: of the long blocks over time


class SplitDecoder(LinearLatentDecoder):
    """Latents [B, D + L * F + 2, T] of SplitVQ -> audio [B, 1, T * hop]."""

    basis: Tensor
    fine_basis: Tensor
    edge: Tensor
    free: Tensor
    raises: Tensor

    def __init__(self, config: SplitConfig, dimension: int, levels: LevelVQ) -> None:
        super().__init__()
        self.config, self.dimension, self.hop = config, dimension, config.core_hop
        self._levels = [levels]  # in a list, so that it is not a submodule: it belongs to the quantizer
        self.n_level_books = len(levels.codebooks)
        self.envelope = Envelope(config)
        self.register_buffer("basis", mdct_basis(self.hop).float(), persistent=False)
        self.register_buffer("fine_basis", fine_basis(self.hop, config.fine_blocks).float(), persistent=False)
        edge = sine_window(self.hop).float()[self.hop // 2 : self.hop].square().reciprocal()
        self.register_buffer("edge", edge, persistent=False)  # [hop/2], from the end of the signal inwards
        low, width = config.low_bins, config.decoder_width
        free = torch.from_numpy(free_bins(config.random_sign_bin, self.hop, config.fine_blocks))
        self.register_buffer("free", free, persistent=False)
        raises = treble_raise(config.treble_db, config.level_bin_hz, config.bands, config.top_bands)
        self.register_buffer("raises", torch.from_numpy(raises), persistent=False)  # [L + 1, bands]
        self.skip = nn.Linear(dimension, low, bias=False)
        self.inp = nn.Linear(dimension + low + 2 * config.n_levels + 2, width)
        self.stack = CausalStack(width, config.decoder_depth, config.expand, config.kernel_size)
        self.norm = nn.LayerNorm(width)
        n_gains = self.hop // HISS_BINS
        self.widths = [self.hop, self.hop, n_gains, low, self.hop, self.hop, n_gains, config.steps * config.bands]  # of `out`
        self.out = nn.Linear(width, sum(self.widths))
        self.correction = LevelCorrection(config)
        self.gain = GainCurve(config) if config.gain_points else None
        with torch.no_grad():
            self.skip.weight.copy_(torch.eye(low, dimension))

    @property
    def reach(self) -> tuple[int, int]:
        """Number of frames before and after its own frame that a decoded sample depends on."""
        return self.config.decoder_context, self.config.decoder_lookahead

    def initial_state(self, batch_size: int, first_frame: int = 0) -> DecoderState:
        """Return the state before the first frame, which may have any number."""
        zeros, step, n_groups = self.basis.new_zeros, self.hop // self.config.steps, len(self.config.gain_groups)
        entries = self._levels[0].initial_past(batch_size).to(self.basis)
        return DecoderState(
            entries, self.stack.initial_past(batch_size), zeros(batch_size, n_groups, self.hop), zeros(batch_size, self.hop),
            zeros(batch_size, (OVERLAP - 1) * step), zeros(batch_size, 0, 2 * self.config.bands + self.config.top_bands),
            zeros(batch_size, (OVERLAP - 1) * step * self.config.core_factor), zeros(batch_size, n_groups, 1), first_frame,
        )  # fmt: skip

    def forward(self, latents: Tensor, state: DecoderState | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal, or its next block if `state` is given, which is updated in place.

        Shapes: latents [B, D + L * F + 2, T] -> [B, 1, n]. A block gives the samples that no later frame changes.
        """
        state = state or self.initial_state(latents.shape[0])
        heard = self.hear(latents, state)
        noise = frame_noise(state.frame + state.n_frames, latents.shape[2], 2 * self.hop, latents)
        found = self.coefficients(heard, noise, state)
        core = self.synthesize(found, state, last)
        targets = torch.cat([self.raised(heard), found.share], dim=-1).flatten(1, 2)
        return self._finish(core, targets, state, last)[:, None]

    def hear(self, latents: Tensor, state: DecoderState) -> DecoderInputs:
        """Split latents [B, D + L * F + 2, T] and decode the levels; updates their past in `state`."""
        quantizer, n_books = self._levels[0], self.n_level_books
        z = latents.transpose(1, 2)
        shape, packed, flags = z.split([self.dimension, n_books * self.config.n_levels, 2], dim=-1)
        entries = packed.unflatten(-1, (n_books, -1)).transpose(1, 2)  # [B, L, T, F]
        parts = quantizer.predict(entries, state.entries)
        state.entries = torch.cat([state.entries, entries], dim=2)[:, :, -quantizer.n_taps :]
        return DecoderInputs(shape, parts.sum(1), parts[:, 0], flags)

    def coefficients(self, heard: DecoderInputs, noise: Tensor, state: DecoderState) -> Coefficients:
        """Run the network; `noise` [B, T, 2 * hop] has unit power. Updates the network's past in `state`."""
        config = self.config
        base = self.envelope.long(heard.base)[..., : config.low_bins]
        low = self.skip(heard.shape) / SHAPE_GAIN * base ** (1 - config.exponent)
        loudness = 0.2 * (low.abs() + 1e-4).log()
        inputs = torch.cat([heard.shape, loudness, level_features(heard.levels), level_features(heard.base), heard.flags], -1)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.stack.computes_in_bfloat16):
            h, state.past = self.stack(self.inp(inputs).float(), state.past)
            h = self.norm(h)
            parts = self.out(h).float().split(self.widths, dim=-1)
        level, shape, hiss, gate, fine_level, fine_shape, fine_hiss, share = parts
        noise_long, noise_fine = noise.split(self.hop, dim=-1)
        hiss, fine_hiss = (torch.exp(x.clamp(max=1.5) - 1.5).repeat_interleave(HISS_BINS, dim=-1) for x in (hiss, fine_hiss))
        sign, fine_sign = self.signs(noise).split(self.hop, dim=-1)
        bins = torch.exp(level.clamp(max=2.5) - 1) * torch.tanh(shape) * sign + hiss * noise_long
        bins = bins * self.envelope.long(heard.levels)
        fine = torch.exp(fine_level.clamp(max=2.5) - 2) * torch.tanh(fine_shape) * fine_sign + fine_hiss * noise_fine
        fine = fine * self.envelope.fine(heard.levels)
        low = low * (1.2 * torch.sigmoid(gate + 2.0))
        long = torch.cat([bins[..., : config.low_bins] + low, bins[..., config.low_bins :]], dim=-1)
        share = torch.sigmoid(share) if config.corrects else torch.zeros_like(share)
        gains = self.gain.points(h.float()) if self.gain else None
        return Coefficients(long, fine, share.unflatten(-1, (config.steps, config.bands)), gains)

    def signs(self, noise: Tensor) -> Tensor:
        """Return factors [B, T, 2 * hop] of the network's coefficients: from `random_sign_bin` on, the sign of the noise.

        With signs of its own, the network writes nearly the same waveform in every frame where no code describes it, which is
        heard as a buzz at the frame rate. No measure of levels or magnitudes notices it. Bins that codes describe keep theirs.
        """
        if not self.config.random_sign_bin:
            return torch.ones_like(noise)
        return torch.where((noise < 0) & self.free, -1.0, 1.0)

    def raised(self, heard: DecoderInputs) -> Tensor:
        """Return the levels that the last layer aims at [B, T, steps, bands]: the decoded ones, with audible treble raised.

        Training does without: its losses compare logarithms, and would lower the treble again.
        """
        levels = heard.levels.unflatten(-1, (self.config.steps, -1))
        if not self.config.treble_db:
            return levels
        more = self.raises[(heard.flags[..., 0] * self.n_level_books).round().long()]  # [B, T, bands]
        return torch.where(levels > silent_below(levels), levels + more[:, :, None], levels)

    def synthesize(self, found: Coefficients, state: DecoderState, last: bool) -> Tensor:
        """Return the final samples [B, n] of the core."""
        half, parts = self.hop // 2, []
        if found.long.shape[1]:
            samples = self.long_samples(found, state)
            short, state.fine_tail = overlap_add(found.fine @ self.fine_basis, state.fine_tail)
            # The first window has nothing on its left to overlap with. The signal is silent there, so
            # no alias falls on the first half hop, and dividing by window^2 restores it.
            if state.n_frames == 0:
                samples = torch.cat([samples[:, half : self.hop] * self.edge, samples[:, self.hop :]], dim=1)
                short = short[:, half:]
            state.n_frames += found.long.shape[1]
            parts.append(samples + short)
        if last and state.n_frames:
            tail = (state.tail * state.gain.exp()).sum(1)
            parts.append(tail[:, :half] * self.edge.flip(0) + state.fine_tail[:, :half])
        return torch.cat(parts, dim=1) if parts else found.long.new_zeros(len(found.long), 0)

    def long_samples(self, found: Coefficients, state: DecoderState) -> Tensor:
        """Return the samples [B, T * hop] of the long blocks, with their gain over time."""
        if found.gains is None:
            samples, tail = overlap_add(found.long @ self.basis, state.tail[:, 0])
            state.tail = tail[:, None]
            return samples
        assert self.gain is not None
        groups, tails = [], []
        for (start, stop), before in zip(self.config.gain_groups, state.tail.unbind(1), strict=True):
            samples, tail = overlap_add(found.long[..., start:stop] @ self.basis[start:stop], before)
            groups.append(samples)
            tails.append(tail)
        state.tail = torch.stack(tails, 1)
        curve, state.gain = self.gain.curve(found.gains, state.gain)
        return (torch.stack(groups, 1) * curve).sum(1)

    def _finish(self, core: Tensor, targets: Tensor, state: DecoderState, last: bool) -> Tensor:
        """Apply the last layer to complete windows: core [B, n], targets [B, m, F / steps + bands] -> output [B, n]."""
        step, factor = self.hop // self.config.steps, self.config.core_factor
        if targets.shape[1] and state.n_frames * self.config.steps == targets.shape[1]:  # first frames of the signal
            targets = torch.cat([targets[:, :1], targets], dim=1)
        targets = torch.cat([state.targets, targets], dim=1)
        samples = torch.cat([state.samples, core], dim=1)
        if last and state.n_frames:
            samples = F.pad(samples, (0, (OVERLAP - 1) * step))
            targets = torch.cat([targets, targets[:, -1:]], dim=1)
        n = max(0, (samples.shape[1] - OVERLAP * step) // step + 1)
        first_window = state.frame * self.config.steps + state.n_dropped  # numbers each window, for its noise
        state.samples, state.targets = samples[:, n * step :], targets[:, n:]
        if n == 0:
            return core.new_zeros(len(core), 0)
        windows = samples.unfold(1, OVERLAP * step, step)[:, :n]
        frames = self.correction(windows, targets[:, :n], first_window)
        out, state.output_tail = add_windows(frames, state.output_tail, step * factor)
        drop = max(0, min(n, OVERLAP - 1 - state.n_dropped)) * step * factor
        state.n_dropped += n
        return out[:, drop:]


class GainCurve(nn.Module):
    """A gain over time for groups of MDCT bins, linear in dB between its points.

    A long block spreads its error over 40 ms, also to where the signal is silent: before an attack. Levels can mend this only
    in the bands that have several a frame.
    """

    between: Tensor

    def __init__(self, config: SplitConfig) -> None:
        super().__init__()
        self.n_groups, self.n_points = len(config.gain_groups), config.gain_points
        self.out = nn.Linear(config.decoder_width, self.n_groups * self.n_points)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        between = torch.from_numpy(between_points(config.gain_points, config.core_hop))
        self.register_buffer("between", between, persistent=False)

    def points(self, h: Tensor) -> Tensor:
        """Return the gains in nepers at the ends of parts of each frame: h [B, T, W] -> [B, G, T, points]."""
        return MOST_GAIN * torch.tanh(self.out(h).unflatten(-1, (self.n_groups, self.n_points)).transpose(1, 2))

    def curve(self, gains: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return factors of samples [B, G, T * hop], and the last gains [B, G, 1], which follow those of `before`."""
        ends = gains[..., -1]
        starts = torch.cat([before, ends[..., :-1]], dim=-1)
        return (torch.cat([starts[..., None], gains], -1) @ self.between).exp().flatten(-2), ends[..., -1:]


class LevelCorrection(nn.Module):
    """Moves the levels of the core's windows towards the coded ones, and adds the bands above the core as noise."""

    window: Tensor
    synthesis: Tensor
    bank: Tensor
    spread: Tensor
    top: Tensor

    def __init__(self, config: SplitConfig) -> None:
        super().__init__()
        self.factor, self.n_fft, self.n_bands = config.core_factor, config.core_window, config.bands
        window = torch.hann_window(self.n_fft, dtype=torch.float64)
        self.register_buffer("window", window.float(), persistent=False)
        synthesis = torch.hann_window(self.n_fft * self.factor, dtype=torch.float64) / WINDOW_POWER
        self.register_buffer("synthesis", synthesis.float(), persistent=False)
        bands = list(pairwise(band_edges(config.level_bin_hz, config.bands, config.top_bands)))
        core, above, n_bins = bands[: config.bands], bands[config.bands :], self.n_fft // 2 + 1
        self.register_buffer("bank", (band_means(core, n_bins) / window.sum() ** 2).float(), persistent=False)
        self.register_buffer("spread", between_centres(core, n_bins), persistent=False)
        top = torch.zeros(len(above), n_bins + (self.factor - 1) * (n_bins - 1))
        for band, (start, stop) in enumerate(above):
            top[band, start:stop] = 1.0
        self.register_buffer("top", top, persistent=False)
        n = self.n_fft * self.factor
        self.noise_gain = n * math.sqrt(WINDOW_POWER / 1.5)  # amplitude of a noise bin relative to that of its level

    def forward(self, windows: Tensor, targets: Tensor, first_window: int) -> Tensor:
        """Windows of the core [B, n, n_fft] and their targets [B, n, all bands + bands] -> windows of the output.

        The result [B, n, n_fft * factor] is already windowed, ready to be overlap-added.
        """
        spectrum = self.corrected(windows, targets)
        n_out = self.n_fft * self.factor
        if self.factor > 1:
            spectrum = F.pad(spectrum[..., :-1] * self.factor, (0, n_out // 2 + 2 - spectrum.shape[-1]))
        if len(self.top):
            spectrum = spectrum + self.hiss(targets, first_window)
        return torch.fft.irfft(spectrum, n=n_out) * self.synthesis

    def corrected(self, windows: Tensor, targets: Tensor) -> Tensor:
        """Return the spectra [B, n, n_fft / 2 + 1] of windows [B, n, n_fft], with the gains applied."""
        wanted, share = targets[..., : self.n_bands], targets[..., -self.n_bands :]
        spectrum = torch.fft.rfft(windows * self.window)
        power = torch.view_as_real(spectrum).square().sum(-1)
        found = 10 * (power @ self.bank + 1e-10).log10()
        ceiling = torch.where(wanted > FLOOR_DB + 1, MAX_RAISE_DB, 0.0)
        gain = share * torch.minimum((wanted - found).clamp(min=-MAX_CUT_DB), ceiling)
        return spectrum * torch.exp((gain * (math.log(10) / 20)) @ self.spread)

    def hiss(self, targets: Tensor, first_window: int) -> Tensor:
        """Return noise spectra [B, n, bins] for the bands above the core, at their levels; zero where levels mean silence."""
        every = targets[..., : self.n_bands + len(self.top)]
        levels = every[..., self.n_bands :]
        amplitude = torch.where(levels > silent_below(every), torch.exp(levels * (math.log(10) / 20)) * self.noise_gain, 0.0)
        n_bins = self.top.shape[1]
        noise = frame_noise(first_window, levels.shape[1], 2 * n_bins, levels, stream=1) * math.sqrt(0.5)
        return torch.complex(noise[..., :n_bins], noise[..., n_bins:]) * (amplitude @ self.top)


def silent_below(levels: Tensor) -> Tensor:
    """Return the level up to which decoded levels mean silence: levels [..., bands] of a step -> [..., 1]."""
    return (levels.amax(-1, keepdim=True) - RANGE_DB).clamp(min=FLOOR_DB) + SILENT_MARGIN_DB


def between_centres(bands: list[tuple[int, int]], n_bins: int) -> Tensor:
    """Return a matrix [bands, n_bins] from values of bands to bins, linear between the centres of the bands."""
    centres = np.array([(start + stop - 1) / 2 for start, stop in bands])
    columns = [np.interp(np.arange(n_bins), centres, row) for row in np.eye(len(bands))]
    return torch.tensor(np.array(columns), dtype=torch.float32)


def add_windows(frames: Tensor, tail: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Overlap-add frames [B, n, OVERLAP * step] at a distance of `step`: (samples [B, n * step], the new tail)."""
    n = frames.shape[1]
    total = F.pad(tail, (0, n * step))
    parts = frames.unflatten(-1, (OVERLAP, step))
    for i in range(OVERLAP):
        shifted = F.pad(parts[:, :, i].flatten(1), (i * step, (OVERLAP - 1 - i) * step))
        total = total + shifted
    return total[:, : n * step], total[:, n * step :]
