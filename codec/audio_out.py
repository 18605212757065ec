"""Write float32 blocks to audio files and pipes; a file is complete or does not appear."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import numpy as np
import soundfile

from ..format.files import OutputFile, output_stream
from .audio_formats import M4A, WAV, AudioFormat, format_of
from .errors import AudioError
from .full_scale import Overs, clipping_note
from .library_io import ErrorKeepingFile, delayed_signals
from .wave_out import WaveEncoder, sample_bytes, to_int16, to_int24, wave_header

if TYPE_CHECKING:
    from .m4a_out import M4aEncoder

__all__ = ["AudioSink", "Output", "format_of", "to_int16", "wave_header", "write_audio"]


@dataclass(frozen=True, slots=True)
class Output:
    """Where decoded audio is written, and in which format."""

    target: str | os.PathLike[str]  # a path, or '-' for standard output
    form: str | None = None  # name of the format, such as "opus"; None: from the suffix, or WAV for standard output
    bits: str | None = None  # of a sample: "16", "24" or "float"; None: the format's default
    overwrite: bool = True  # False: FileExistsError if another process creates the file meanwhile
    notice: Callable[[str], object] = lambda line: None  # receives a line if something differs from the request
    finish: Callable[[Path], object] | None = None  # receives the path of the complete file just before it appears

    @property
    def name(self) -> str:
        """The output's name in messages."""
        return "standard output" if str(self.target) == "-" else str(self.target)

    def check(self) -> AudioFormat:
        """Return the format; raises AudioError if it is unknown or does not support the sample format."""
        form = format_of(self.target if isinstance(self.target, str) else Path(self.target), self.form)
        try:
            form.subtype(self.bits)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from None
        return form

    def legal_rate(self, rate: int) -> int:
        """Return `rate` in Hz, or the format's next supported rate; `notice` then receives a line about it."""
        form = self.check()
        legal = form.next_rate(rate)
        if legal != rate:
            self.notice(f"{self.name}: {form.name} has no rate of {rate} Hz; resampled to {legal} Hz")
        return legal


class _Encoder(Protocol):
    """Writes blocks [n, C] to a file."""

    def write(self, frames: np.ndarray) -> None: ...

    def close(self) -> None: ...


class AudioSink:
    """Audio opened for writing in blocks [C, n], for use in a `with` block.

    A file gets its name only once everything is written. Until then it is a hidden file next to it,
    which is removed on any error. To '-', a named pipe or a device, WAV is written as it is made; other
    formats go to a temporary file first. Raises AudioError if the format does not support the audio,
    and OSError that names the output if it cannot be written.
    """

    def __init__(
        self, target: str | os.PathLike[str], sample_rate: int, channels: int, n_samples: int | None,
        form: str | None = None, bits: str | None = None, overwrite: bool = True,
        finish: Callable[[Path], object] | None = None,
    ) -> None:  # fmt: skip
        output = Output(target, form, bits, overwrite)
        self._form = output.check()
        if self._form.next_rate(sample_rate) != sample_rate:
            raise AudioError(f"{output.name}: {self._form.name} has no rate of {sample_rate} Hz; use another rate, or wav")
        self._name, self._bits, self._about = output.name, bits or "16", (sample_rate, channels)
        self._subtype = self._form.subtype(bits)
        self._n_bytes = 0
        self.overs = Overs()
        self._check_size(None if n_samples is None else n_samples * self._frame_bytes)
        self._stack = contextlib.ExitStack()
        try:
            stream = self._stack.enter_context(output_stream(target, overwrite, finish))
            self._encoder = self._open(stream, n_samples)
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise

    @property
    def _frame_bytes(self) -> int:
        return self._about[1] * sample_bytes(self._bits)

    def _check_size(self, n_bytes: int | None) -> None:
        self._form.check(self._name, self._about[1], n_bytes)

    def _open(self, stream: BinaryIO, n_samples: int | None) -> _Encoder:
        if self._form is WAV:
            return WaveEncoder(stream, *self._about, n_samples, self._bits)
        if not stream.seekable():
            stream = self._stack.enter_context(_spooled(stream))
        encoder: _Coded | M4aEncoder
        if self._form is M4A:
            from .m4a_out import M4aEncoder

            encoder = M4aEncoder(stream, self._name, *self._about)
        else:
            encoder = _Coded(stream, self._name, *self._about, self._form, self._subtype)
        self._stack.callback(encoder.abandon)
        return encoder

    def write(self, block: np.ndarray) -> None:
        """Append float32 [C, n]; values beyond full scale are clipped unless samples are floats."""
        if not block.shape[1]:  # then any number of channels will do
            block = np.zeros((self._about[1], 0), np.float32)
        self._n_bytes += block.shape[1] * self._frame_bytes
        self.overs.add(block)
        self._check_size(self._n_bytes)
        self._encoder.write(block.T)

    def __enter__(self) -> AudioSink:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            try:
                self._encoder.close()
                self._form.check_complete(self._name, self._n_bytes)
            except BaseException as failed:
                self._stack.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._stack.__exit__(*error)


class _Coded:
    """Writes blocks with libsndfile to a seekable stream.

    For most formats libsndfile ignores write errors when it closes a file, so all bytes pass through
    here, and the first error is kept.
    """

    def __init__(self, stream: BinaryIO, name: str, sample_rate: int, channels: int, form: AudioFormat, subtype: str) -> None:
        self._bytes, self._subtype, self._name = ErrorKeepingFile(stream), subtype, name
        self._file: soundfile.SoundFile | None = None

        def start() -> None:
            self._file = soundfile.SoundFile(self._bytes, "w", sample_rate, channels, subtype, format=form.container)

        try:
            self._call(start)
        except BaseException:
            self.abandon()
            raise

    def write(self, frames: np.ndarray) -> None:
        """Append float32 [n, C]."""
        assert self._file is not None
        if self._subtype == "PCM_16":
            samples = to_int16(frames)
        elif self._subtype == "PCM_24":
            samples = to_int24(frames)
        else:
            samples = frames if self._subtype == "FLOAT" else np.clip(frames, -1.0, 1.0)
        file = self._file
        self._call(lambda: file.write(samples))

    def close(self) -> None:
        """Complete the file; the stream stays open."""
        file, self._file = self._file, None
        if file is not None:
            self._call(file.close)

    def abandon(self) -> None:
        """Release libsndfile's resources after an error."""
        with contextlib.suppress(Exception):
            self.close()

    def _call(self, action: Callable[[], object]) -> None:
        """Call libsndfile; raise an error of writing if there is one, else AudioError with libsndfile's message."""
        try:
            with delayed_signals():
                action()
        except (soundfile.LibsndfileError, AssertionError) as error:
            reason = getattr(error, "error_string", str(error)).strip()
            raise self._bytes.error or AudioError(f"{self._name}: cannot be written ({reason})") from error
        if self._bytes.error:
            raise self._bytes.error


@contextlib.contextmanager
def _spooled(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Provide a temporary file, whose bytes are copied to `stream` at the end."""
    with tempfile.TemporaryFile() as spool:
        yield cast(BinaryIO, OutputFile(spool, f"a temporary file in {tempfile.gettempdir()}"))
        spool.seek(0)
        shutil.copyfileobj(spool, stream)


def write_audio(
    blocks: Iterable[np.ndarray], output: Output, rate: int, channels: int, n_samples: int | None,
    progress: Callable[[float], None],
) -> int:  # fmt: skip
    """Write blocks [C, n] at `rate` Hz, which the format must support; return the number of samples written.

    `output.notice` receives a line if samples were clipped.
    """
    n_out = 0
    with AudioSink(output.target, rate, channels, n_samples, output.form, output.bits, output.overwrite, output.finish) as sink:
        for block in blocks:
            sink.write(block)
            n_out += block.shape[1]
            progress(block.shape[1] / rate)
    form = output.check()
    if sink.overs.n_samples and form.subtype(output.bits) != "FLOAT":
        output.notice(f"{output.name}: {clipping_note(sink.overs, 'float' in form.subtypes)}")
    return n_out
