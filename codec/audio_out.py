"""Float32 blocks -> audio files and pipes: formats, lengths, errors of writing."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ..format.files import partial_path
from .errors import AudioError

SUFFIX_FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aiff": "AIFF",
    ".aif": "AIFF",
    ".au": "AU",
}
SUBTYPES = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}  # otherwise PCM_16


class AudioSink:
    """Audio opened for writing in blocks [C, n]: a path, or '-' for 16-bit WAV on standard output.

    A file appears under its name only when everything was written: until then it is a
    hidden file beside it, removed on any error.
    """

    def __init__(
        self, target: str | os.PathLike[str], sample_rate: int, channels: int, n_samples: int | None, form: str | None = None
    ) -> None:
        self.name = "standard output" if str(target) == "-" else str(target)
        self._pipe: BinaryIO | None = None
        self._file: Any = None
        if str(target) == "-":
            self._pipe = sys.stdout.buffer
            self._pipe.write(wave_header(sample_rate, channels, n_samples))
            return
        self._path = Path(target)
        self._format = format_of(self._path, form)
        if self._path.exists() and not self._path.is_file():
            raise AudioError(f"{self.name}: is not a file; for a pipe write to '-'")
        self._partial = partial_path(self._path)
        subtype = SUBTYPES.get(self._format, "PCM_16")
        if self._path.suffix.lower() == ".opus" and form is None:
            subtype = "OPUS"
        try:
            self._file = soundfile.SoundFile(self._partial, "w", sample_rate, channels, subtype, format=self._format)
        except (soundfile.LibsndfileError, OSError) as error:
            self._partial.unlink(missing_ok=True)
            reason = getattr(error, "error_string", None) or str(error)
            raise AudioError(
                f"{self.name}: cannot be written as {self._format} at {sample_rate} Hz ({reason.strip()})"
            ) from error

    def write(self, block: np.ndarray) -> None:
        """Append float32 [C, n]; values beyond full scale are clipped."""
        if self._pipe is not None:
            self._pipe.write(to_int16(block.T).tobytes())
            return
        try:
            self._file.write(to_int16(block.T) if self._file.subtype == "PCM_16" else np.clip(block.T, -1.0, 1.0))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.name}: cannot be written ({error.error_string.strip()})") from error

    def __enter__(self) -> AudioSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pipe is not None:
            if kind is None:
                self._pipe.flush()
            return
        try:
            self._file.close()
            if kind is None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """Float in [-1, 1) -> little-endian 16-bit, rounded; the inverse of dividing by 32768."""
    return np.clip(np.rint(audio * 32768), -32768, 32767).astype("<i2")


def format_of(path: Path, form: str | None = None) -> str:
    """libsndfile's format name for a file, by `form` or by its suffix; raises AudioError for unknown ones."""
    name = f".{form.lower()}" if form else path.suffix.lower()
    if name not in SUFFIX_FORMATS:
        known = ", ".join(sorted(s[1:] for s in SUFFIX_FORMATS))
        raise AudioError(f"{path}: unknown audio format {name[1:]!r} (known: {known})")
    return SUFFIX_FORMATS[name]


def wave_header(sample_rate: int, channels: int, n_samples: int | None) -> bytes:
    """The 44 bytes before 16-bit PCM in a WAV file; an unknown length is written as all ones."""
    frame_bytes = 2 * channels
    n_bytes = 0xFFFFFFFF if n_samples is None else min(n_samples * frame_bytes, 0xFFFFFFFF)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 16)
    return struct.pack("<4sI4s", b"RIFF", min(n_bytes + 36, 0xFFFFFFFF), b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes)


def write_audio(
    blocks: Iterable[np.ndarray],
    target: str | os.PathLike[str],
    rate: int,
    channels: int,
    n_samples: int | None,
    form: str | None,
    progress: Callable[[float], None],
) -> int:
    """Write blocks [C, n]; returns the number of samples written."""
    n_out = 0
    with AudioSink(target, rate, channels, n_samples, form) as sink:
        for block in blocks:
            sink.write(block)
            n_out += block.shape[1]
            progress(block.shape[1] / rate)
    return n_out
