"""A loss on loudness, as listeners perceive it: loud sounds and the worst moments count most.

Distances of logarithms treat a sound that nobody hears like the loudest one, and a mean over time forgives short disturbances.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ...codec.modules.levels import band_edges, band_means
from .losses import CPU, spectrum

WINDOW, BANDS = 384, 24  # samples: 16 ms at 24 kHz
LEVEL_DB = 79.0  # sound pressure level that every item is played at
EXPONENT = 0.23  # of power, in loudness (Zwicker and Fastl)
WORST = 3.0  # exponent of the mean over time: above 1, the worst moments count most


@lru_cache(maxsize=4)
def _bands(sample_rate: int, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """Return the band sums [n_bins, BANDS], and the power of the threshold in quiet of each band [BANDS] (Terhardt 1979)."""
    edges = list(pairwise(band_edges(sample_rate / WINDOW, BANDS, 0)))
    n_bins = WINDOW // 2 + 1
    widths = torch.tensor([float(stop - start) for start, stop in edges])
    bank = band_means(edges, n_bins).float() * widths
    khz = np.array([(start + stop - 1) / 2 for start, stop in edges]) * sample_rate / WINDOW / 1000
    khz = np.maximum(khz, 0.05)
    quiet = 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return bank.to(device), torch.from_numpy(10 ** (quiet / 10)).float().to(device)


def loudness_loss(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Return how much the loudness of ear bands differs, relative to the target's loudness: audio [B, 1, N] twice -> scalar."""
    bank, quiet = _bands(sample_rate, estimate.device)
    gain = 10 ** (LEVEL_DB / 10) / target.square().mean((1, 2)).clamp(min=1e-7)[:, None, None]
    found = []
    for audio in (estimate, target):
        real, imaginary = spectrum(audio, WINDOW)
        power = (real.square() + imaginary.square()) @ bank * (gain * (8 / 3 * 2 / WINDOW**2))  # of a Hann window, one-sided
        found.append((power + quiet) ** EXPONENT - quiet**EXPONENT)
    disturbance = ((found[0] - found[1]).square().mean(-1) + 1e-6).sqrt()  # [B, T]
    usual = found[1].mean((1, 2)).clamp(min=0.1)
    return (disturbance.pow(WORST).mean(-1).pow(1 / WORST) / usual).mean()
