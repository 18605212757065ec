"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019)."""

from __future__ import annotations

import numpy as np
import torch

from ...codec.train.losses import si_sdr

NAME, UNIT, HIGHER_IS_BETTER = "SI-SDR", "dB", True


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """SI-SDR in dB: how closely the waveform is followed."""
    signals = (torch.from_numpy(np.ascontiguousarray(x, np.float32))[None, None] for x in (degraded, reference))
    return float(si_sdr(*signals)[0])
