"""Codecs of ffmpeg: AAC, Vorbis, Speex and Codec2."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .base import Coded, Missing, call, need, read_back, write_wav


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """One of ffmpeg's encoders at one bitrate, mono, with ffmpeg's decoder."""

    family: str
    kbps: float
    encoder: str
    suffix: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.family} {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N] through files in `folder`."""
        need("ffmpeg", "ffmpeg")
        if self.encoder not in encoders():
            raise Missing(f"this ffmpeg has no encoder {self.encoder} (Debian package ffmpeg has)")
        wav, coded, back = folder / "in.wav", folder / f"a.{self.suffix}", folder / "out.wav"
        write_wav(wav, audio, sample_rate)
        quiet = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y"]
        call([*quiet, "-i", wav, "-ac", "1", "-c:a", self.encoder, *self.options, coded], folder)
        call([*quiet, "-i", coded, back], folder)
        return read_back(back, audio, sample_rate, coded.stat().st_size)


@lru_cache(maxsize=1)
def encoders() -> frozenset[str]:
    """Return the names of the audio encoders of the ffmpeg on the PATH."""
    listing = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout
    return frozenset(line.split()[1] for line in listing.splitlines() if line.startswith(" A"))
