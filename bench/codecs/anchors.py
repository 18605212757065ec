"""Signals that are not codecs but mark the ends of the scale: PCM, band-limited copies, noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr

from .base import Coded, fit_length, read_back, write_wav


@dataclass(frozen=True, slots=True)
class Pcm:
    """16-bit samples in a WAV file at `rate`; None: at the clip's own rate."""

    rate: int | None = None  # Hz
    family = "PCM"

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"PCM {self.rate / 1000:g} kHz" if self.rate else "PCM"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Write and read back; if `rate` differs, resample there and back."""
        path, rate = folder / "a.wav", self.rate or sample_rate
        write_wav(path, soxr.resample(audio, sample_rate, rate, quality="VHQ") if rate != sample_rate else audio, rate)
        return read_back(path, audio, sample_rate, path.stat().st_size)


@dataclass(frozen=True, slots=True)
class LowPass:
    """The reference without frequencies above `hz`: the low anchor of listening tests (ITU-R BS.1534)."""

    hz: float
    family = "anchor"

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"low-pass {self.hz / 1000:g} kHz"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Return the filtered clip [N], with 0 bytes."""
        if 2 * self.hz >= sample_rate:
            return Coded(audio, 0)
        from scipy.signal import oaconvolve  # imported here: `make demo` does without

        filtered = oaconvolve(audio, low_pass(self.hz, sample_rate), mode="full")
        return Coded(fit_length(filtered[len(low_pass(self.hz, sample_rate)) // 2 :], len(audio)).astype(np.float32), 0)


@lru_cache(maxsize=8)
def low_pass(hz: float, sample_rate: int) -> np.ndarray:
    """Return a linear-phase filter of odd length with a transition band of 400 Hz."""
    from scipy.signal import firwin

    return firwin(2 * round(2 * sample_rate / 400) + 1, hz, fs=sample_rate)


@dataclass(frozen=True, slots=True)
class Noise:
    """White noise at the reference's level, which keeps nothing else of the sound."""

    seed: int = 0
    family = "anchor"
    name = "noise"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Return noise [N], with 0 bytes."""
        noise = np.random.default_rng(self.seed).standard_normal(len(audio))
        return Coded((noise * np.sqrt(np.mean(np.square(audio)))).astype(np.float32), 0)
