"""Other people's codecs, at the bytes that they really take."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile


class Missing(RuntimeError):
    """A program that is not on this machine; names the Debian package that brings it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What a codec made of a clip: audio [N] at the clip's rate, aligned to it, and the file's size."""

    audio: np.ndarray
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Opus:
    """opusenc at a target bitrate, in mono, default settings."""

    kbps: float

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"Opus {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int) -> Coded:
        """Encode and decode float32 [N]; raises Missing where opus-tools is not installed."""
        if shutil.which("opusenc") is None:
            raise Missing("opusenc not found (Debian package opus-tools)")
        with tempfile.TemporaryDirectory() as folder:
            wav, opus, back = (Path(folder) / name for name in ("in.wav", "a.opus", "out.wav"))
            soundfile.write(wav, audio, sample_rate, subtype="PCM_16")
            subprocess.run(["opusenc", "--quiet", "--bitrate", f"{self.kbps:g}", str(wav), str(opus)], check=True)
            subprocess.run(["opusdec", "--quiet", "--rate", str(sample_rate), str(opus), str(back)], check=True)
            decoded, rate = soundfile.read(back, dtype="float32", always_2d=True)
            if rate != sample_rate:
                raise RuntimeError(f"opusdec wrote {rate} Hz, wanted {sample_rate}")
            return Coded(fit_length(decoded.mean(1), len(audio)), opus.stat().st_size)


def fit_length(audio: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut or zero-pad [N] to `n_samples`."""
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))
