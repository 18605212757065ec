"""The interface of a codec under test: audio in; decoded audio and its real size in bytes out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import soxr

from ...format.errors import EcdcError

MAX_SHIFT_SECONDS = 0.2  # longer than any codec's delay
TIMEOUT_SECONDS = 120


class Missing(EcdcError, RuntimeError):
    """A program or model is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded clip: decoded audio, float32 [N] at the clip's rate and aligned with it, and the bytes on disk."""

    audio: np.ndarray
    n_bytes: int


class Coder(Protocol):
    """A codec at one setting. `code` can run in any process and keeps no state."""

    @property
    def name(self) -> str:
        """Name in tables, unique for each setting."""

    @property
    def family(self) -> str:
        """Name shared by all settings of a codec; plots draw one line per family."""

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N], with files in `folder`; raises Missing if a program is not installed."""


def need(program: str, package: str) -> None:
    """Raise Missing if `program` is not on the PATH."""
    if shutil.which(program) is None:
        raise Missing(f"{program} not found (Debian package {package})")


def call(command: Sequence[str | Path], where: Path) -> None:
    """Run a program in the folder `where`; if it fails, raises RuntimeError with the last line of its stderr."""
    done = subprocess.run([str(part) for part in command], cwd=where, capture_output=True, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"{command[0]}: {words[-1]}")


def write_wav(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Write a 16-bit WAV file, which all other encoders accept."""
    soundfile.write(path, audio, sample_rate, subtype="PCM_16")


def read_back(path: Path, reference: np.ndarray, sample_rate: int, n_bytes: int) -> Coded:
    """Read a decoded file and match it to the reference: mono, same rate and length, codec delay removed."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio.mean(1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="VHQ")
    return Coded(aligned(mono, reference, sample_rate), n_bytes)


def aligned(audio: np.ndarray, reference: np.ndarray, sample_rate: int) -> np.ndarray:
    """Shift `audio` [n] to its best correlation with `reference` [N], and fit its length.

    Some containers do not store the delay of the encoder; a benchmark must not penalise that.
    """
    reach = min(round(MAX_SHIFT_SECONDS * sample_rate), len(reference) - 1, len(audio) - 1)
    if reach < 1:
        return fit_length(audio, len(reference))
    from scipy.signal import correlate  # imported here: `make demo` does without

    scores = correlate(audio, reference, method="fft")
    zero = len(reference) - 1
    lag = int(np.argmax(scores[zero - reach : zero + reach + 1])) - reach
    return fit_length(audio[lag:] if lag > 0 else np.pad(audio, (-lag, 0)), len(reference))


def fit_length(audio: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut or zero-pad [N] to `n_samples`."""
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))
