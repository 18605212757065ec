"""Mel-scale filters."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=32)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Return triangular filters [n_mels, n_fft//2+1] on Slaney's mel scale, each with unit area.

    The scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above (Slaney 1998). Filters
    narrower than a bin stay empty.
    """
    step, corner, ratio = 200 / 3, 1000.0, np.log(6.4) / 27

    def to_hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < corner / step, mel * step, corner * np.exp(ratio * (mel - corner / step)))

    top = corner / step + np.log(sample_rate / 2 / corner) / ratio
    edges = to_hz(np.linspace(0, top, n_mels + 2))  # Hz
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters.astype(np.float32)
