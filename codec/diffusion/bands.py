"""Split signals into mel bands with windowed-sinc filters; measure and change the bands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ...format.errors import ArgumentError
from .config import ProcessorConfig

PERIODS = 8  # of the lowest cutoff frequency that a filter spans
MAX_GAIN = 10**1.5  # of an equaliser, 30 dB: a band that is missing altogether cannot be restored by amplifying it


def mel_cutoffs(sample_rate: int, n_bands: int) -> list[float]:
    """Return the n_bands - 1 borders in Hz of bands equally wide on the mel scale 2595 log10(1 + f/700)."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    return [700 * (10 ** (top * i / n_bands / 2595) - 1) for i in range(1, n_bands)]


class LowPasses(nn.Module):
    """Windowed-sinc low-pass filters of equal length, for cutoffs in cycles per sample."""

    filters: Tensor

    def __init__(self, cutoffs: list[float]) -> None:
        super().__init__()
        half = int(PERIODS / min(cutoffs) / 2)
        time = torch.arange(-half, half + 1, dtype=torch.float64)
        window = torch.hann_window(2 * half + 1, periodic=False, dtype=torch.float64)
        taps = torch.stack([window * torch.sinc(2 * c * time) for c in cutoffs])  # normalized to unit sum below
        self.register_buffer("filters", (taps / taps.sum(dim=1, keepdim=True)).float()[:, None])  # [F, 1, 2 * half + 1]

    @property
    def reach(self) -> int:
        """Samples on each side that a filter sees."""
        return self.filters.shape[-1] // 2

    def forward(self, wav: Tensor) -> Iterator[Tensor]:
        """Yield each filter's output [..., N] in turn. The signal is extended by repeating its first and last sample."""
        return self.filtered(wav, self.filters[:, 0])

    def filtered(self, wav: Tensor, filters: Iterable[Tensor]) -> Iterator[Tensor]:
        """Like `forward`, with other symmetric filters [2 * reach + 1]."""
        n_samples, half = wav.shape[-1], self.reach
        rows = F.pad(wav.reshape(1, -1, n_samples), (half, half), mode="replicate")
        size = _round_size(n_samples + 4 * half)
        spectrum = torch.fft.rfft(rows, size)
        for taps in filters:
            # For symmetric filters, convolution equals correlation.
            out = torch.fft.irfft(spectrum * torch.fft.rfft(taps, size), size)
            yield out[..., 2 * half : 2 * half + n_samples].reshape(wav.shape)


def _round_size(n: int) -> int:
    """Return the smallest size of at least n with a fast Fourier transform: 2^a, 3 * 2^a or 5 * 2^a."""
    return min(k * 2 ** max(0, math.ceil(math.log2(n / k))) for k in (1, 3, 5))


class SplitBands(nn.Module):
    """Splits a signal [..., N] into mel bands [..., N], yielded in turn, lowest first; they sum to the signal."""

    def __init__(self, sample_rate: int, n_bands: int) -> None:
        super().__init__()
        self.lowpass = LowPasses([cutoff / sample_rate for cutoff in mel_cutoffs(sample_rate, n_bands)])

    def forward(self, wav: Tensor) -> Iterator[Tensor]:
        below: Tensor | None = None
        for low in self.lowpass(wav):
            yield low if below is None else low - below
            below = low
        yield wav - below if below is not None else wav

    def weighted(self, wav: Tensor, gains: Tensor) -> Tensor:
        """Sum the bands [..., N], each times its gain [n_bands], with a single filter, because all have one length."""
        taps = ((gains[:-1] - gains[1:])[:, None] * self.lowpass.filters[:, 0]).sum(dim=0)
        return next(self.lowpass.filtered(wav, [taps])) + gains[-1] * wav


class MultiBandProcessor(nn.Module):
    """Moves the loudness of a signal's mel bands towards that of white noise, and back.

    The statistics accumulate over signals: each adds the mean of a band's samples and of their
    squares. `target` is the variance of the noise rather than its deviation, as published.
    """

    counts: Tensor
    sum_x: Tensor
    sum_x2: Tensor
    sum_target_x2: Tensor

    def __init__(self, config: ProcessorConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.split_bands = SplitBands(sample_rate, config.n_bands)
        self.register_buffer("counts", torch.zeros(1))
        for name in ("sum_x", "sum_x2", "sum_target_x2"):
            self.register_buffer(name, torch.zeros(config.n_bands))

    def _statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean, deviation and target of each band; raises ValueError if no signal was observed yet."""
        if not self.counts > 0:
            raise ArgumentError("this band processor has observed no signals yet")
        mean = self.sum_x / self.counts
        deviation = (self.sum_x2 / self.counts - mean**2).clamp(min=0).sqrt()
        return mean, deviation, self.sum_target_x2 / self.counts

    def observe(self, wav: Tensor, generator: torch.Generator | None = None) -> None:
        """Add signals [B, C, N] to the statistics, up to `n_fit` signals. Training calls this before `project`."""
        if self.counts >= self.config.n_fit:
            return
        noise = torch.randn(wav.shape, generator=generator, dtype=wav.dtype, device=wav.device)
        self.counts += len(wav)
        for i, (band, target) in enumerate(zip(self.split_bands(wav), self.split_bands(noise), strict=True)):
            self.sum_x[i] += band.mean(dim=(1, 2)).sum()
            self.sum_x2[i] += band.pow(2).mean(dim=(1, 2)).sum()
            self.sum_target_x2[i] += target.pow(2).mean(dim=(1, 2)).sum()

    def project(self, wav: Tensor) -> Tensor:
        """Convert a signal [B, C, N] to the domain of the diffusion process."""
        mean, deviation, target = self._statistics()
        gain = (target / deviation.clamp(min=1e-12)) ** self.config.power
        return self.split_bands.weighted(wav, gain) - (mean * gain).sum()

    def restore(self, wav: Tensor) -> Tensor:
        """Convert a sample of the diffusion process back to a signal [B, C, N]."""
        mean, deviation, target = self._statistics()
        gain = (deviation / target) ** self.config.power
        return self.split_bands.weighted(wav, gain) + mean.sum()


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts).clone()
    for part in parts:
        total += part
    return total


def re_eq(wav: Tensor, reference: Tensor, sample_rate: int, n_bands: int = 32, strictness: float = 1.0) -> Tensor:
    """Give `wav` the loudness of `reference` in each mel band, as published: one gain per band for the whole batch.

    Shapes: both [B, C, N] -> [B, C, N]. An item's result depends on the other items, and a silent
    band gives NaN or infinity.
    """
    split = SplitBands(sample_rate, n_bands).to(wav.device)
    pairs = zip(split(wav), split(reference), strict=True)
    return _sum(band * (wanted.std() / band.std()) ** strictness for band, wanted in pairs)


def equalise(wav: Tensor, reference: Tensor, sample_rate: int, n_bands: int = 32, strictness: float = 1.0) -> Tensor:
    """Give `wav` the loudness of `reference` in each mel band, separately for each channel of each item.

    Shapes: both [B, C, N] -> [B, C, N]. For one mono signal the result equals that of `re_eq` if no
    gain exceeds 30 dB. Silent bands stay silent.
    """
    split = SplitBands(sample_rate, n_bands).to(wav.device)

    def gained(band: Tensor, wanted: Tensor) -> Tensor:
        gain = wanted.std(dim=-1, keepdim=True) / band.std(dim=-1, keepdim=True).clamp(min=1e-12)
        return band * gain.clamp(max=MAX_GAIN) ** strictness

    return _sum(gained(*pair) for pair in zip(split(wav), split(reference), strict=True))
