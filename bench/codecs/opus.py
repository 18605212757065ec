"""Opus (RFC 6716) by opusenc, mono, default settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .base import Coded, call, need, read_back, write_wav

RATES = (6.0, 12.0, 24.0)  # kbps, in a default run


@dataclass(frozen=True, slots=True)
class Opus:
    """opusenc at a target bitrate."""

    kbps: float
    family = "Opus"

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"Opus {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N] through files in `folder`."""
        need("opusenc", "opus-tools")
        wav, coded, back = (folder / name for name in ("in.wav", "a.opus", "out.wav"))
        write_wav(wav, audio, sample_rate)
        call(["opusenc", "--quiet", "--bitrate", f"{self.kbps:g}", wav, coded], folder)
        call(["opusdec", "--quiet", "--rate", "48000", coded, back], folder)
        return read_back(back, audio, sample_rate, coded.stat().st_size)


def make(kbps: float) -> Opus:
    """Return the codec at a bitrate."""
    return Opus(kbps)
