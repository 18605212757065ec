"""Audio files and pipes <-> float32 blocks: read, write, resample, channels.

The one door to libsndfile, soxr and torchaudio. Everything is block by block, so that an
hour costs no more memory than a second.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from .audio_out import AudioSink, format_of, to_int16, wave_header
from .errors import AudioError
from .forms import MAX_RATE, MIN_RATE

__all__ = [
    "AudioError", "AudioInfo", "AudioSink", "AudioSource", "Resampler", "fold_channels", "format_of", "resample_all",
    "to_int16", "torchaudio_or_none", "wave_header",
]  # fmt: skip

BLOCK_SECONDS = 1.0
PIPED_MAGIC = (b"RIFF", b"RIFX", b".snd")  # what libsndfile reads without seeking
READABLE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf"})


def torchaudio_or_none() -> ModuleType | None:
    """torchaudio where its native library loads; builds for another torch raise on import."""
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError):
        return None
    return torchaudio


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file says of itself; `n_samples` is None on pipes."""

    sample_rate: int  # Hz
    channels: int
    n_samples: int | None  # per channel


class AudioSource:
    """Audio opened for reading in blocks: a path, or '-' for standard input.

    Raises AudioError where it is missing, a folder, or not audio that libsndfile reads.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        self.name = "standard input" if str(source) == "-" else str(source)
        self._stack = contextlib.ExitStack()
        try:
            self._file = self._stack.enter_context(self._open(source))
        except AudioError:
            self._stack.close()
            raise
        except (soundfile.LibsndfileError, OSError, TypeError) as error:
            self._stack.close()
            reason = getattr(error, "error_string", None) or str(error)
            raise AudioError(f"{self.name}: not audio that libsndfile can read ({reason.strip().rstrip('.')})") from error
        seekable = self._file.seekable()
        self.info = AudioInfo(self._file.samplerate, self._file.channels, self._file.frames if seekable else None)
        if not MIN_RATE <= self.info.sample_rate <= MAX_RATE:
            self.close()
            raise AudioError(
                f"{self.name}: a sample rate of {self.info.sample_rate} Hz is out of range ({MIN_RATE}..{MAX_RATE})"
            )

    def _open(self, source: str | os.PathLike[str]) -> soundfile.SoundFile:
        if str(source) == "-":
            return self._open_pipe(sys.stdin.buffer)
        path = Path(source)
        if path.is_dir():
            raise AudioError(f"{path}: is a folder, not an audio file")
        if not path.exists():
            raise AudioError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: is empty")
        return soundfile.SoundFile(path)

    def _open_pipe(self, stream: BinaryIO) -> soundfile.SoundFile:
        """WAV and AU are read as they arrive; other formats need seeking and are spooled to disk."""
        head = stream.read(4)
        if not head:
            raise AudioError("standard input: is empty")
        if head in PIPED_MAGIC:
            read_end, write_end = os.pipe()
            threading.Thread(target=_pump, args=(head, stream, write_end), daemon=True).start()
            return soundfile.SoundFile(read_end, closefd=True)
        spool = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        spool.write(head)
        shutil.copyfileobj(stream, spool)
        spool.seek(0)
        return soundfile.SoundFile(spool)

    def blocks(self, n_samples: int | None = None) -> Iterator[np.ndarray]:
        """Float32 blocks [C, n] in order, n = `n_samples` but for the last.

        Raises AudioError at the first sample that is not finite, naming its time.
        """
        n_samples = n_samples or round(BLOCK_SECONDS * self.info.sample_rate)
        position = 0
        while True:
            try:
                block = self._file.read(n_samples, dtype="float32", always_2d=True).T
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{self.name}: damaged at {position / self.info.sample_rate:.3f} s ({error.error_string})"
                ) from error
            if block.shape[1] == 0:
                return
            if not np.isfinite(block).all():
                where = position + int(np.argmin(np.isfinite(block).all(axis=0)))
                raise AudioError(f"{self.name}: a sample at {where / self.info.sample_rate:.3f} s is not a finite number")
            position += block.shape[1]
            yield block

    def close(self) -> None:
        """Close the file and whatever was opened for it."""
        self._stack.close()

    def __enter__(self) -> AudioSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pump(head: bytes, source: BinaryIO, write_end: int) -> None:
    """Copy a pipe into another one whose first bytes were already taken."""
    with os.fdopen(write_end, "wb") as sink, contextlib.suppress(BrokenPipeError):
        sink.write(head)
        shutil.copyfileobj(source, sink)


class Resampler:
    """Resamples a stream of blocks [C, n] with soxr; the same output for any division into blocks."""

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="VHQ")

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """[C, n] -> [C, m], what this block completes; `last` flushes the filter."""
        if self._stream is None:
            return block
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        return out.reshape(-1, self._channels).T


def resample_all(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample a whole signal [C, N] at once."""
    return Resampler(from_rate, to_rate, audio.shape[0])(audio, last=True)


def fold_channels(block: np.ndarray, channels: int) -> np.ndarray:
    """[C, n] -> [channels, n]: mono is the mean; a missing channel repeats mono.

    Raises ValueError for anything else.
    """
    have = block.shape[0]
    if have == channels:
        return block
    if channels == 1:
        return block.mean(axis=0, keepdims=True)
    if have == 1:
        return np.repeat(block, channels, axis=0)
    raise ValueError(f"cannot turn {have} channels into {channels}")
