"""Mel-scale filters as tensors."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..mel_filters import mel_filters


@lru_cache(maxsize=32)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Return the filters of `mel_filters`, [n_mels, n_fft//2+1], as a tensor."""
    return torch.from_numpy(mel_filters(sample_rate, n_fft, n_mels))
