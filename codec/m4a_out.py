"""M4A: AAC in MP4, written with PyAV, whose wheels bundle FFmpeg.

The edit list of the file gives the exact first and last sample of the sound, without the encoder's delay before it and the
padding of the last frame. FFmpeg skips the delay but plays the padding, at most 1023 samples of silence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, BinaryIO

import av
import numpy as np

from .errors import AudioError
from .library_io import ErrorKeepingFile, delayed_signals

BITS_PER_SAMPLE, MOST_BITS = 2, 96_000  # per channel: 96 kbps from 48 kHz on
LAYOUTS = {1: "mono", 2: "stereo"}


class M4aEncoder:
    """Writes blocks [n, C] as M4A to a seekable stream; the stream stays open.

    If writing to the stream failed, raises that error, else AudioError with FFmpeg's message.
    """

    def __init__(self, stream: BinaryIO, name: str, sample_rate: int, channels: int) -> None:
        self._bytes, self._name = ErrorKeepingFile(stream), name
        self._about = sample_rate, channels
        self._written = 0
        self._container: Any = None
        try:
            self._call(self._start)
        except BaseException:
            self.abandon()
            raise

    def _start(self) -> None:
        rate, channels = self._about
        # A time scale of one sample; otherwise the edit list would end at a whole millisecond.
        options = {"movie_timescale": str(rate), "use_editlist": "1"}
        self._container = av.open(self._bytes, "w", format="ipod", options=options)
        self._stream = self._container.add_stream("aac", rate=rate, layout=LAYOUTS[channels])
        context = self._stream.codec_context
        context.bit_rate = channels * min(BITS_PER_SAMPLE * rate, MOST_BITS)
        self._container.start_encoding()
        self._size = context.frame_size
        self._waiting = np.zeros((channels, 0), np.float32)

    def write(self, frames: np.ndarray) -> None:
        """Append float32 [n, C]; values beyond full scale are clipped."""
        self._waiting = np.concatenate([self._waiting, np.clip(frames.T, -1.0, 1.0)], axis=1, dtype=np.float32)
        n_whole = self._waiting.shape[1] // self._size * self._size
        whole, self._waiting = self._waiting[:, :n_whole], self._waiting[:, n_whole:]
        self._call(lambda: self._encode(whole))

    def _encode(self, audio: np.ndarray) -> None:
        rate, channels = self._about
        for start in range(0, audio.shape[1], self._size):
            part = np.ascontiguousarray(audio[:, start : start + self._size])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=LAYOUTS[channels])
            frame.sample_rate, frame.pts, frame.time_base = rate, self._written, self._stream.time_base
            self._container.mux(self._stream.encode(frame))
            self._written += part.shape[1]

    def close(self) -> None:
        """Complete the file."""
        if self._container is not None:
            self._call(self._finish)

    def _finish(self) -> None:
        self._encode(self._waiting)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._container = None

    def abandon(self) -> None:
        """Release FFmpeg's resources after an error."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(Exception), delayed_signals():
                container.close()

    def _call(self, action: Callable[[], object]) -> None:
        """Call FFmpeg, and raise an error of writing if there is one, else FFmpeg's error."""
        try:
            with av.logging.Capture(), delayed_signals():
                action()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            reason = str(getattr(error, "strerror", "") or error)
            raise self._bytes.error or AudioError(f"{self._name}: cannot be written ({reason})") from error
        if self._bytes.error:
            raise self._bytes.error
