"""Reconstruction losses by name. A recipe has a table of weights with the same names."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from ...codec.modules.levels import FLOOR_DB, RANGE_DB, band_edges, band_means
from ...codec.modules.mel import mel_filterbank

MEL_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}  # window (samples): bands, as DAC pairs them
FLOOR = 1e-5  # smallest mel magnitude, before the logarithm
PULSE_WINDOW = 32  # samples, of the pulse loss: shorter than any block of a decoder
PULSE_ITEMS = 8  # of a batch, whose mean the pulse loss takes: a fixed number, so that it does not depend on the processes
LEVEL_WINDOW = 512  # samples, of the level loss
LEVEL_SPANS = (4, 16, 64)  # averaging lengths of the level loss, in hops (a quarter of its window)
TILE_WINDOW, TILE_BANDS = 512, 24  # samples, of the tile loss
CPU = torch.device("cpu")
COMPRESSION = 0.5  # exponent of magnitudes in the complex loss


@lru_cache(maxsize=32)
def _hann(n_fft: int, device: torch.device = CPU) -> Tensor:
    return torch.hann_window(n_fft).to(device)


@lru_cache(maxsize=32)
def _mel_bank(sample_rate: int, n_fft: int, n_mels: int, device: torch.device) -> Tensor:
    """Return the mel filters as a matrix [n_fft / 2 + 1, n_mels]."""
    return mel_filterbank(sample_rate, n_fft, n_mels).T.to(device)


class _Spectrum(torch.autograd.Function):
    """Windowed frames at a hop of n_fft / 4, and their real Fourier transform: audio [B, N] -> two of [B, T, n_fft / 2 + 1].

    For real x and X = rfft(x), dL/dx[n] = Re sum_k G[k] exp(2 pi i k n / N), with G the gradient of X. irfft counts every
    inner bin twice and divides by N, which is undone here. The generic backward pass uses a complex transform of twice the
    size, and takes long to add up frames that overlap.
    """

    @staticmethod
    def forward(ctx, audio: Tensor, n_fft: int) -> tuple[Tensor, Tensor]:
        ctx.n_fft, ctx.n_samples = n_fft, audio.shape[-1]
        found = torch.fft.rfft(audio.unfold(-1, n_fft, n_fft // 4) * _hann(n_fft, audio.device))
        return found.real.contiguous(), found.imag.contiguous()

    @staticmethod
    def backward(ctx, real: Tensor, imaginary: Tensor) -> tuple[Tensor, None]:
        n_fft, hop = ctx.n_fft, ctx.n_fft // 4
        gradient = torch.complex(real, imaginary)
        gradient[..., 0] *= 2
        gradient[..., -1] *= 2
        frames = torch.fft.irfft(gradient, n=n_fft).mul_(_hann(n_fft, real.device) * (0.5 * n_fft)).unflatten(-1, (4, hop))
        n_frames = frames.shape[1]
        total = real.new_zeros(len(real), ctx.n_samples)
        steps = total[:, : (n_frames + 3) * hop].unflatten(-1, (-1, hop))
        for i in range(4):
            steps[:, i : i + n_frames] += frames[:, :, i]
        return total, None


def spectrum(audio: Tensor, n_fft: int) -> tuple[Tensor, Tensor]:
    """Return the short-time spectrum as real and imaginary part, with a hop of n_fft/4.

    Shapes: [B, 1, N] -> two of [B, T, n_fft/2 + 1], for complete windows only.
    """
    found: tuple[Tensor, Tensor] = _Spectrum.apply(audio[:, 0], n_fft)
    return found


@lru_cache(maxsize=32)
def waveform_weights(n_bins: int, top_hz: float, waveform_hz: float, device: torch.device = CPU) -> Tensor | None:
    """Return how much each of n bins from 0 to `top_hz` counts in the losses that know phases: [n_bins].

    One up to 0.7 times `waveform_hz`, then falling to zero at `waveform_hz`. None if that is 0: all bins count.
    """
    if not waveform_hz:
        return None
    hz = torch.linspace(0, top_hz, n_bins)
    return ((waveform_hz - hz) / (0.3 * waveform_hz)).clamp(0, 1).to(device)


def _low(audio: Tensor, sample_rate: int, waveform_hz: float) -> Tensor:
    """Return the part of audio [..., N] that `waveform_weights` lets pass, as if the signal were periodic."""
    n = audio.shape[-1]
    weights = waveform_weights(n // 2 + 1, sample_rate / 2, waveform_hz, audio.device)
    return audio if weights is None else torch.fft.irfft(torch.fft.rfft(audio) * weights, n=n)


def _compare(estimate: Tensor, target: Tensor) -> Tensor:
    return (estimate - target).abs().mean()


def _views(audio: Tensor, sample_rate: int, n_fft: int, with_complex: bool, waveform_hz: float = 0.0) -> tuple[Tensor, ...]:
    """Return mel magnitudes, their log10 and, if requested, the real and imaginary part of the compressed spectrum."""
    real, imaginary = spectrum(audio, n_fft)
    power = real.square() + imaginary.square() + 1e-9
    mel = power.sqrt() @ _mel_bank(sample_rate, n_fft, MEL_BANDS[n_fft], audio.device)
    log = mel.clamp(min=FLOOR).log10()
    if not with_complex:
        return mel, log
    scale = power ** ((COMPRESSION - 1) / 2)
    weights = waveform_weights(power.shape[-1], sample_rate / 2, waveform_hz, audio.device)
    if weights is not None:
        scale = scale * weights
    return mel, log, real * scale, imaginary * scale


def _pulse(estimate: Tensor, target: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """Return the pulse loss of `reconstruction_losses`: audio [B, 1, N] twice -> scalar."""
    period = hop_length // (PULSE_WINDOW // 4)  # steps per frame
    profiles = []
    for audio in (estimate, target):
        _, log = _views(audio, sample_rate, PULSE_WINDOW, with_complex=False)  # [B, T, M]
        folded = log[:, : log.shape[1] // period * period].unflatten(1, (-1, period)).mean(1)  # [B, period, M]
        profiles.append(20 * (folded - folded.mean(1, keepdim=True)))
    groups = (profiles[0] - profiles[1]).split(PULSE_ITEMS)
    return torch.stack([len(group) * group.mean(0).square().mean() for group in groups]).sum() / len(estimate)


def level_loss(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """L1 distance of log10 magnitudes in mel bands, with power averaged over time: audio [B, 1, N] twice -> scalar.

    If the estimate cannot know when a sound occurs, a loss per frame favours estimates that are too quiet, because the mean
    logarithm of uncertain powers is below the logarithm of their mean. Averaging over a span of time avoids this.
    """
    powers = []
    for audio in (estimate, target):
        real, imaginary = spectrum(audio, LEVEL_WINDOW)
        power = real.square() + imaginary.square()
        bank = _mel_bank(sample_rate, LEVEL_WINDOW, MEL_BANDS[LEVEL_WINDOW] // 4, audio.device)
        powers.append((power @ bank).transpose(1, 2))
    found = []
    for span in LEVEL_SPANS:
        pooled = [torch.nn.functional.avg_pool1d(power, span, max(1, span // 2)) for power in powers]
        found.append(_compare(*(0.5 * (x + FLOOR**2).log10() for x in pooled)))
    return torch.stack(found).mean()


@lru_cache(maxsize=4)
def _tile_bank(sample_rate: int, device: torch.device) -> Tensor:
    bands = list(pairwise(band_edges(sample_rate / TILE_WINDOW, TILE_BANDS, 0)))
    return (band_means(bands, TILE_WINDOW // 2 + 1) / float(_hann(TILE_WINDOW).sum()) ** 2).to(device)


def tile_loss(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """L1 distance in dB of auditory band levels in short tiles, limited by a floor: audio [B, 1, N] twice, 24 kHz -> scalar."""
    levels = []
    for audio in (estimate, target):
        real, imaginary = spectrum(audio, TILE_WINDOW)
        power = (real.square() + imaginary.square()) @ _tile_bank(sample_rate, audio.device)
        found = 10 * (power + 1e-10).log10()
        levels.append(torch.maximum(found.clamp(min=FLOOR_DB), found.amax(-1, keepdim=True).detach() - RANGE_DB))
    return _compare(*levels)


def reconstruction_losses(
    estimate: Tensor,
    target: Tensor,
    sample_rate: int,
    windows: tuple[int, ...],
    complex_windows: tuple[int, ...],
    hop_length: int = 0,
    waveform_hz: float = 0.0,
) -> dict[str, Tensor]:
    """Return the losses between two signals, each a scalar averaged over window lengths.

    Shapes: estimate and target [B, 1, N].
    mel_log: L1 of log10 mel magnitudes. mel_linear: L1 of mel magnitudes. complex: L1 of spectra
    with magnitudes raised to 1/2, which keeps the phase. wave: L1 of samples. pulse, computed if the
    codec's `hop_length` is given: squared difference of the profiles of mel levels in dB within a frame,
    averaged over all frames of eight items, minus their mean. It prevents a decoder from being louder at one
    place of every frame than at another, which no other loss penalizes, but which is heard as a hum at the
    frame rate. Profiles of single items are mostly chance: from the mean of eight, the share of the gradient
    that is not chance is 1.8 times as large.

    `complex` and `wave` compare phases. Where no code describes the waveform, nothing but silence is close to the target in
    phase: there, these losses make a decoder too quiet. With `waveform_hz` they only count below that frequency.
    """
    terms: dict[str, list[Tensor]] = {"mel_linear": [], "mel_log": [], "complex": [], "pulse": []}
    for n_fft in windows:
        with_complex = n_fft in complex_windows
        with torch.no_grad():
            wanted = _views(target, sample_rate, n_fft, with_complex, waveform_hz)
        got = _views(estimate, sample_rate, n_fft, with_complex, waveform_hz)
        distances = [_compare(a, b) for a, b in zip(got, wanted, strict=True)]
        terms["mel_linear"].append(distances[0])
        terms["mel_log"].append(distances[1])
        terms["complex"] += [torch.stack(distances[2:]).sum()] if with_complex else []
    if hop_length:
        terms["pulse"] = [_pulse(estimate, target, sample_rate, hop_length)]
    if complex_windows and not terms["complex"]:  # no complex window was drawn at this step
        terms["complex"] = [estimate.new_zeros(())]
    losses = {name: torch.stack(values).mean() for name, values in terms.items() if values}
    losses["wave"] = _low(estimate - target, sample_rate, waveform_hz).abs().mean()
    return losses


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB per item (Le Roux et al. 2019): [B, 1, N] -> [B]."""
    estimate, target = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (estimate, target))
    scaled = (estimate * target).sum(1, keepdim=True) / target.square().sum(1, keepdim=True).clamp(min=1e-9) * target
    noise = (estimate - scaled).square().sum(1)
    return 10 * torch.log10((scaled.square().sum(1) + 1e-9) / (noise + 1e-9))
