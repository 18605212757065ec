"""MP3 (MPEG-2 layer III) by lame, mono, constant bitrate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .base import Coded, call, need, read_back, write_wav

RATES = (24.0, 32.0)  # kbps, in a default run


@dataclass(frozen=True, slots=True)
class Mp3:
    """lame at a constant bitrate."""

    kbps: float
    family = "MP3"

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"MP3 {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N] through files in `folder`."""
        need("lame", "lame")
        wav, coded, back = (folder / name for name in ("in.wav", "a.mp3", "out.wav"))
        write_wav(wav, audio, sample_rate)
        call(["lame", "--quiet", "-m", "m", "--cbr", "-b", f"{self.kbps:g}", wav, coded], folder)
        call(["lame", "--quiet", "--decode", coded, back], folder)
        return read_back(back, audio, sample_rate, coded.stat().st_size)


def make(kbps: float) -> Mp3:
    """Return the codec at a bitrate."""
    return Mp3(kbps)
