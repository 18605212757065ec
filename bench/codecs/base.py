"""What a codec under test is: audio in, audio and the bytes that it really took out."""

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
from scipy.signal import correlate

from ...format.errors import EcdcError

MAX_SHIFT_SECONDS = 0.2  # longer than any codec's delay
TIMEOUT_SECONDS = 120


class Missing(EcdcError, RuntimeError):
    """A program or model that is not on this machine; says what brings it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What a codec made of a clip: float32 [N] at the clip's rate, aligned to it, and the bytes on disk."""

    audio: np.ndarray
    n_bytes: int


class Coder(Protocol):
    """A codec at one setting. `code` runs in any process and leaves no state behind."""

    @property
    def name(self) -> str:
        """As it stands in tables, unlike that of any other setting."""

    @property
    def family(self) -> str:
        """What a line of a plot joins."""

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N], with files in `folder`; raises Missing where a program is."""


def need(program: str, package: str) -> None:
    """Raise Missing where `program` is not on the PATH."""
    if shutil.which(program) is None:
        raise Missing(f"{program} not found (Debian package {package})")


def call(command: Sequence[str | Path], where: Path) -> None:
    """Run a program; raises RuntimeError with its last words where it fails."""
    done = subprocess.run([str(part) for part in command], cwd=where, capture_output=True, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"{command[0]}: {words[-1]}")


def write_wav(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """16-bit WAV: what other people's encoders take."""
    soundfile.write(path, audio, sample_rate, subtype="PCM_16")


def read_back(path: Path, reference: np.ndarray, sample_rate: int, n_bytes: int) -> Coded:
    """A decoded file as the reference's twin: mono, at its rate, of its length, without the codec's delay."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio.mean(1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="VHQ")
    return Coded(aligned(mono, reference, sample_rate), n_bytes)


def aligned(audio: np.ndarray, reference: np.ndarray, sample_rate: int) -> np.ndarray:
    """Shift `audio` [n] to where it correlates best with `reference` [N], and fit its length.

    Containers of some codecs do not tell the delay of their encoder; a benchmark must not punish that.
    """
    reach = min(round(MAX_SHIFT_SECONDS * sample_rate), len(reference) - 1, len(audio) - 1)
    if reach < 1:
        return fit_length(audio, len(reference))
    scores = correlate(audio, reference, method="fft")
    zero = len(reference) - 1
    lag = int(np.argmax(scores[zero - reach : zero + reach + 1])) - reach
    return fit_length(audio[lag:] if lag > 0 else np.pad(audio, (-lag, 0)), len(reference))


def fit_length(audio: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut or zero-pad [N] to `n_samples`."""
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))
