"""Multi-scale mel distance, as defined by DAC's paper (Kumar et al. 2023, section 3.5), for comparison with its table.

That table is for 44.1 kHz audio; at 24 kHz, the same distance covers only bands up to 12 kHz.
"""

from __future__ import annotations

import numpy as np

from ...codec.mel_filters import mel_filters

# Fixed here, so that a change of a training loss does not change published figures.
MEL_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}  # window (samples): bands
FLOOR = 1e-5  # of a mel magnitude, before the logarithm
BLOCK_FRAMES = 1024  # whose spectra are computed at once, to save memory

NAME, UNIT, HIGHER_IS_BETTER = "mel distance", "", False
BAND, NEEDS = "all", "ecdc"
SPEECH_ONLY, QUICK = False, True


def magnitudes(signal: np.ndarray, n_fft: int) -> np.ndarray:
    """Return STFT magnitudes with a Hann window and a hop of n_fft / 4: float32 [N] -> [T, n_fft/2 + 1]."""
    padded = np.pad(signal.astype(np.float32), n_fft // 2, mode="reflect")
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 4]
    blocks = np.array_split(frames, -(-len(frames) // BLOCK_FRAMES))
    return np.concatenate([np.abs(np.fft.rfft(block * window)).astype(np.float32) for block in blocks])


def measure(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the mean absolute difference of log10 mel magnitudes, summed over windows of 32 to 2048 samples."""
    total = 0.0
    for n_fft, n_mels in MEL_BANDS.items():
        filters = mel_filters(sample_rate, n_fft, n_mels).T
        logs = [np.log10(np.maximum(magnitudes(x, n_fft) @ filters, FLOOR)) for x in (reference, degraded)]
        total += float(np.abs(logs[0] - logs[1]).mean(dtype=np.float64))
    return total
