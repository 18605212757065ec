"""A transform codec and a learned codec that share one latent.

The encoder puts companded low MDCT bins into the latent through a linear path that starts as the
identity, and adds the output of a network on the short-time spectrum. The decoder reads the bins
back the same way, and a network adds the rest. So the quantizer codes the waveform from the first
training step, while the networks learn the envelope, the high band and how to remove quantization
noise.

With `fine_blocks` both ends have a finer time resolution: the encoder also reads the levels of
short windows, and the decoder also writes short MDCT blocks, which are added to the long ones. So
the envelope within a frame (attacks, the pulses of a voice, changing noise) does not have to be
built from long blocks.

Both ends are causal with a bounded look-ahead. Frame t needs samples up to (t+1)*hop plus the part
of its analysis window after its frame (hop/2 with a window of 2 hops, 3*hop/2 with 4). A sample is
final once the frame after its own is known, and the `lookahead` frames after that. With windows of
2 hops and one frame ahead, as with 4 and none, the total is 3 hops: 40 ms at 24 kHz with hop 320.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from ..config import HybridConfig
from .bands import free_bins
from .convnext import CausalStack
from .linear_latents import LinearLatentDecoder, LinearLatentEncoder
from .noise import frame_noise
from .spectral import fine_basis, mdct_basis, overlap_add, sine_window

COMPAND_GAIN = 3.0  # scales typical bins to about unit variance, where the quantizer starts
MAGNITUDE_FLOOR = 1e-8


def compand(bins: Tensor) -> Tensor:
    """Compress bins by a square root, so that quantization noise follows the signal's level."""
    return COMPAND_GAIN * bins.sign() * (bins.abs() + MAGNITUDE_FLOOR).sqrt()


def expand(values: Tensor) -> Tensor:
    """Invert `compand`."""
    return values.sign() * values.square() / COMPAND_GAIN**2


@dataclass
class EncoderState:
    """What a streaming encoder keeps between two calls."""

    samples: Tensor  # [B, n]: received samples that later frames need
    past: list[Tensor]


@dataclass
class DecoderState:
    """What a streaming decoder keeps between two calls."""

    past: list[Tensor]
    tail: Tensor  # [B, hop]: second half of the last long block
    fine_tail: Tensor  # [B, hop]: second half of the last short blocks
    held: Tensor  # [B, D, lookahead]: latents of frames that wait for the next one
    first_frame: int  # number of the stream's first frame in the whole signal
    n_frames: int = 0  # decoded so far


class HybridEncoder(LinearLatentEncoder):
    """Audio [B, 1, N] -> latents [B, D, T] with T = ceil(N / hop)."""

    window: Tensor
    fine_window: Tensor
    basis: Tensor

    def __init__(self, config: HybridConfig, dimension: int) -> None:
        super().__init__()
        self.hop, self.low_bins = config.hop_length, config.low_bins
        self.window_length = config.encoder_window * self.hop
        self.context = (self.window_length - self.hop) // 2  # samples that a window extends beyond its frame on each side
        self.register_buffer("window", torch.hann_window(self.window_length, dtype=torch.float64).float(), persistent=False)
        self.register_buffer("basis", mdct_basis(self.hop).float()[: self.low_bins], persistent=False)
        n_bins = self.window_length // 2 + 1
        self.real, self.imaginary = (nn.Linear(n_bins, config.encoder_width, bias=False) for _ in range(2))
        self.level = nn.Linear(n_bins, config.encoder_width)
        self.fine_hop = self.hop // config.fine_blocks if config.fine_blocks else 0
        if self.fine_hop:
            fine_window = torch.hann_window(2 * self.fine_hop, dtype=torch.float64).float()
            self.register_buffer("fine_window", fine_window, persistent=False)
            self.fine_level = nn.Linear(config.fine_blocks * (self.fine_hop + 1), config.encoder_width, bias=False)
        self.stack = CausalStack(config.encoder_width, config.encoder_depth, config.expand, config.kernel_size)
        self.out = nn.Linear(config.encoder_width, dimension)
        self.skip = nn.Linear(self.low_bins, dimension, bias=False)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.skip.weight.copy_(torch.eye(dimension, self.low_bins))

    def initial_state(self, batch_size: int) -> EncoderState:
        """Return the state before the first sample: silence."""
        return EncoderState(self.window.new_zeros(batch_size, self.context), self.stack.initial_past(batch_size))

    def forward(self, wav: Tensor, state: EncoderState | None = None, last: bool = True) -> Tensor:
        """Encode a whole signal, or its next block if `state` is given, which is updated in place.

        Shapes: wav [B, 1, N] -> [B, D, T]. With `last` the final frame is completed with silence;
        without it, samples that do not yet complete a window are kept.
        """
        state = state or self.initial_state(wav.shape[0])
        samples = torch.cat([state.samples, wav[:, 0]], dim=1)
        if last:
            missing = -(samples.shape[1] - self.context) % self.hop
            samples = nn.functional.pad(samples, (0, missing + self.context))
        n_frames = max(0, (samples.shape[1] - self.window_length) // self.hop + 1)
        state.samples = samples[:, n_frames * self.hop :]
        if n_frames == 0:
            return samples.new_zeros(wav.shape[0], self.out.out_features, 0)
        frames = samples.unfold(1, self.window_length, self.hop)[:, :n_frames]  # [B, T, window]
        h, state.past = self.stack(self._features(frames), state.past)
        start = self.context - self.hop // 2
        low = frames[..., start : start + 2 * self.hop] @ self.basis.T  # the MDCT window is in the middle
        return (self.out(h) + self.skip(compand(low))).transpose(1, 2)

    def _features(self, frames: Tensor) -> Tensor:
        """Return features of the compressed complex spectrum and the log levels: [B, T, window] -> [B, T, W]."""
        spectrum = torch.fft.rfft(frames * self.window)
        real, imaginary = spectrum.real, spectrum.imag
        log_power = _log_power(spectrum)
        scale = torch.exp(-0.35 * log_power)  # raises magnitudes to the power 0.3
        features = self.level(0.3 * log_power) + self.real(real * scale) + self.imaginary(imaginary * scale)
        return features + self._fine_features(frames) if self.fine_hop else features

    def _fine_features(self, frames: Tensor) -> Tensor:
        """Return features of the levels of short windows, which tile the frame's own hop: [B, T, window] -> [B, T, W]."""
        start = self.context - self.fine_hop // 2
        blocks = frames[..., start : start + self.hop + self.fine_hop].unfold(-1, 2 * self.fine_hop, self.fine_hop)
        log_power = _log_power(torch.fft.rfft(blocks * self.fine_window))  # [B, T, fine_blocks, fine_hop + 1]
        features: Tensor = self.fine_level(0.3 * log_power.flatten(-2))
        return features


def _log_power(spectrum: Tensor) -> Tensor:
    return (spectrum.real.square() + spectrum.imag.square() + MAGNITUDE_FLOOR).log()


class HybridDecoder(LinearLatentDecoder):
    """Latents [B, D, T] -> audio [B, 1, T * hop]."""

    basis: Tensor
    fine_basis: Tensor
    edge: Tensor
    free: Tensor

    def __init__(self, config: HybridConfig, dimension: int) -> None:
        super().__init__()
        self.hop, self.low_bins, self.lookahead = config.hop_length, config.low_bins, config.lookahead
        self.config, self.dimension, self.n_latents_read = config, dimension, 1 + config.lookahead
        self.register_buffer("basis", mdct_basis(self.hop).float(), persistent=False)
        fine = fine_basis(self.hop, config.fine_blocks).float() if config.fine_blocks else torch.zeros(0, 2 * self.hop)
        self.register_buffer("fine_basis", fine, persistent=False)
        edge = sine_window(self.hop).float()[self.hop // 2 : self.hop].square().reciprocal()
        self.register_buffer("edge", edge, persistent=False)  # [hop/2], from the end of the signal inwards
        free = torch.from_numpy(free_bins(config.random_sign_bin, self.hop, config.fine_blocks))
        self.register_buffer("free", free, persistent=False)
        self.skip = nn.Linear(dimension, self.low_bins, bias=False)
        self.inp = nn.Linear((1 + self.lookahead) * dimension + self.low_bins, config.decoder_width)
        self.stack = CausalStack(config.decoder_width, config.decoder_depth, config.expand, config.kernel_size)
        self.norm = nn.LayerNorm(config.decoder_width)
        self.widths = [self.hop, self.hop, self.low_bins, len(fine), len(fine)]  # of the parts of `out`
        self.out = nn.Linear(config.decoder_width, sum(self.widths))
        with torch.no_grad():
            self.skip.weight.copy_(torch.eye(self.low_bins, dimension))

    @property
    def reach(self) -> tuple[int, int]:
        """Number of frames before and after its own frame that a decoded sample depends on."""
        return self.config.decoder_context, self.config.decoder_lookahead

    def initial_state(self, batch_size: int, first_frame: int = 0) -> DecoderState:
        """Return the state before the first frame, which may have any number."""
        tail = self.basis.new_zeros(batch_size, self.hop)
        held = self.basis.new_zeros(batch_size, self.dimension, 0)
        return DecoderState(self.stack.initial_past(batch_size), tail, tail, held, first_frame)

    def forward(self, latents: Tensor, state: DecoderState | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal, or its next block if `state` is given, which is updated in place.

        Shapes: latents [B, D, T] -> [B, 1, n]. A block gives the samples that no later frame changes: half
        a hop and `lookahead` frames fewer than its own at the start, and as many more at the end.
        """
        batch_size, half = latents.shape[0], self.hop // 2
        state = state or self.initial_state(batch_size)
        parts = []
        latents, ahead = self._with_next(latents, state, last)
        if latents.shape[-1]:
            long, fine = self._coefficients(latents, ahead, state)
            samples, state.tail = overlap_add(long @ self.basis, state.tail)
            short, state.fine_tail = overlap_add(fine @ self.fine_basis, state.fine_tail)
            # The first window has nothing on its left to overlap with. The signal is silent there, so
            # no alias falls on the first half hop, and dividing by window^2 restores it.
            if state.n_frames == 0:
                samples = torch.cat([samples[:, half : self.hop] * self.edge, samples[:, self.hop :]], dim=1)
                short = short[:, half:]
            state.n_frames += latents.shape[2]
            parts.append(samples + short)
        if last and state.n_frames:
            parts.append(state.tail[:, :half] * self.edge.flip(0) + state.fine_tail[:, :half])
        return torch.cat(parts, dim=1)[:, None] if parts else latents.new_zeros(batch_size, 1, 0)

    def _with_next(self, latents: Tensor, state: DecoderState, last: bool) -> tuple[Tensor, Tensor]:
        """Return the frames that can be decoded now, and each one's next frame: [B, D, T] twice. Silence follows the last."""
        if not self.lookahead:
            return latents, latents[:, :0]
        known = torch.cat([state.held, latents], dim=2)
        if last:
            state.held = known[..., :0]
            return known, nn.functional.pad(known[..., 1:], (0, min(1, known.shape[2])))
        state.held = known[..., -1:]
        return known[..., :-1], known[..., 1:]

    def _coefficients(self, latents: Tensor, ahead: Tensor, state: DecoderState) -> tuple[Tensor, Tensor]:
        """Return MDCT coefficients [B, T, hop] of long blocks (linear path plus network) and of short blocks."""
        z = latents.transpose(1, 2)
        low = expand(self.skip(z))
        h = self.inp(torch.cat([z, ahead.transpose(1, 2), 0.2 * (low.abs() + 1e-4).log()], dim=-1))
        h, state.past = self.stack(h, state.past)
        level, shape, gate, fine_level, fine_shape = self.out(self.norm(h)).split(self.widths, dim=-1)
        bins = torch.exp(level.clamp(max=5.0) - 3.0) * torch.tanh(shape)
        fine = torch.exp(fine_level.clamp(max=5.0) - 4.0) * torch.tanh(fine_shape)
        if self.config.random_sign_bin:
            sign, fine_sign = self._signs(state.first_frame + state.n_frames, z.shape[1])
            bins, fine = bins * sign, fine * fine_sign
        low = low * (1.2 * torch.sigmoid(gate + 2.0))
        return torch.cat([bins[..., : self.low_bins] + low, bins[..., self.low_bins :]], dim=-1), fine

    def _signs(self, frame: int, n_frames: int) -> tuple[Tensor, ...]:
        """Return the signs of the network's long and short blocks for the frames from number `frame` on: [1, T, bins] each.

        Codes hardly describe the waveform of high bins. With signs of its own, the network writes nearly the same waveform in
        every frame there, which is heard as a buzz at the frame rate. The linear path keeps its signs in all bins.
        """
        noise = frame_noise(frame, n_frames, len(self.free), self.basis)
        return torch.where((noise < 0) & self.free, -1.0, 1.0).split([self.hop, len(self.fine_basis)], dim=-1)
