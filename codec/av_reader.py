"""Read compressed and container formats with PyAV, which includes FFmpeg.

FFmpeg sees only bytes: no name, no network, and only the demuxers listed here, so that a playlist
or a text file is never taken for sound.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import av
import av.logging
import numpy as np

from .channels import fold_channels
from .errors import AudioError, Damage
from .mp3_frames import MARKS, Gapless, is_cut
from .resample import Resampler

DEMUXERS = (
    "aac,aax,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,ircam,loas,matroska,mov,mp3,"
    "mpc,mpc8,mpeg,mpegts,nistsphere,ogg,oma,pvf,qcp,rm,shn,sox,tak,tta,voc,w64,wav,wv,xwma"
)
PLAIN = frozenset({"aiff", "au", "caf", "voc", "wav"})  # a short last packet is not a fault
EXACT = frozenset({"aiff", "ape", "au", "caf", "flac", "tta", "w64", "wv"})  # headers give the number of samples
ROUGH = frozenset({"caf", "flv"})  # headers give samples or time, but may include an encoder's delay and padding
SLACK = 0.15  # seconds by which ROUGH claims may be too long; at least three frames
TIMED = frozenset({"asf", "mpeg", "mpegts"})  # a jump in timestamps is a loss that FFmpeg does not report
MAX_JUMP = 0.05  # seconds
NO_STREAM = -1
CUT_OFF = ("moov atom not found", "End of file")  # what FFmpeg says if a file lacks what it needs to begin

av.logging.set_level(av.logging.WARNING)  # FFmpeg hides damage, and reports it only here
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())
T = TypeVar("T")


class AvReader:
    """Sound decoded by FFmpeg, from consecutive file objects (the links of a chained Ogg).

    The first frame sets the rate and the channels; later ones are converted to them. `gapless` is the
    MP3 encoder's own count. `damage` returns damage that the file objects found, and after how many
    samples. Raises AudioError if there is no sound.
    """

    def __init__(
        self, files: Iterable[Any], name: str, track: int | None = None, gapless: Gapless | None = None,
        options: dict[str, str] | None = None, damage: Callable[[], tuple[str, int | None] | None] = lambda: None,
    ) -> None:  # fmt: skip
        self._name, self._track, self._gapless, self._damage_below = name, track, gapless, damage
        self._options = {"format_whitelist": DEMUXERS, "err_detect": "crccheck", **(options or {})}
        self._damage: Damage | None = None
        self.metadata: dict[str, str] = {}
        self.n_tracks = self.track = 1
        self.n_samples: int | None = None
        self.ended = self.is_lossy = False  # whether everything was decoded; whether the format is lossy
        self._n_decoded = 0
        self._resampler: tuple[int, Resampler] | None = None
        frames = self._frames(iter(files))
        first = next(frames, None)
        if first is None:
            raise AudioError(f"{name}: {self._damage.reason}" if self._damage else f"{name}: holds no samples")
        self.sample_rate, self.channels = first.sample_rate, len(first.layout.channels)
        self.speakers = tuple(channel.name for channel in first.layout.channels)
        self._arrays = self._trimmed(self._converted(first, frames))
        self._held: list[np.ndarray] = []

    @property
    def damage(self) -> Damage | None:
        """Damage in the part decoded so far, including damage found by the file objects."""
        if (found := self._damage_below()) is None:
            return self._damage
        reason, n_samples = found
        return Damage(reason, None if n_samples is None else n_samples / self.sample_rate)

    def read(self, n_samples: int) -> np.ndarray:
        """Return the next samples [C, n] as float32; fewer than `n_samples` only at the end."""
        have = sum(part.shape[1] for part in self._held)
        while have < n_samples and not self.ended:
            if (part := next(self._arrays, None)) is None:
                self.ended = True
            else:
                self._held.append(part)
                have += part.shape[1]
        if not self._held:
            return np.zeros((self.channels, 0), np.float32)
        joined = np.concatenate(self._held, axis=1) if len(self._held) > 1 else self._held[0]
        self._held = [joined[:, n_samples:]] if joined.shape[1] > n_samples else []
        return joined[:, :n_samples]

    def _frames(self, files: Iterator[Any]) -> Iterator[av.AudioFrame]:
        for number, file in enumerate(files):
            try:
                container = self._opened(file)
            except AudioError as error:
                if number == 0:
                    raise
                self.note(str(error).removeprefix(f"{self._name}: "))
                continue
            try:
                yield from _Decoding(self, container, self._chosen(container)).frames()
            finally:
                container.close()

    def _opened(self, file: Any) -> Any:
        with av.logging.Capture() as logs:
            try:
                return av.open(file, options=self._options, metadata_errors="replace")
            except (av.error.FFmpegError, ValueError) as error:
                said = complaints(logs)
                reason = said[-1] if said else str(getattr(error, "strerror", "") or error)
        advice = "; the file may be cut off" if reason in CUT_OFF else ""
        reason = "no known format" if "not on whitelist" in reason else f"FFmpeg: {reason}{advice}"
        raise AudioError(f"{self._name}: not audio that can be read ({reason})")

    def _chosen(self, container: Any) -> Any:
        """Return the sound track to decode: the requested one, or FFmpeg's choice."""
        tracks = container.streams.audio
        if not tracks:
            raise AudioError(f"{self._name}: has no sound track")
        if self._track is not None and not 1 <= self._track <= len(tracks):
            raise AudioError(f"{self._name}: has {len(tracks)} sound tracks; there is no track {self._track}")
        stream = container.streams.best("audio") if self._track is None else tracks[self._track - 1]
        if stream is None:
            raise AudioError(f"{self._name}: not audio that can be read (FFmpeg finds no sound in it)")
        if not self.metadata:
            self.metadata = {**stream.metadata, **container.metadata}
        self.n_tracks, self.track = len(tracks), tracks.index(stream) + 1
        self.is_lossy = stream.codec_context.codec.lossy and not stream.codec_context.codec.lossless
        stream.codec_context.options = {"err_detect": "crccheck"}
        if stream.codec_context.name == "alac" and container.format.name == "caf":
            stream.codec_context.options |= {"flags2": "+skip_manual"}  # the last frame is already short; do not trim twice
        return stream

    def note(self, reason: str, seconds: float | None = None) -> None:
        """Keep the first damage."""
        if self._damage is None:
            rate = getattr(self, "sample_rate", 0)
            self._damage = Damage(reason, self._n_decoded / rate if seconds is None and rate else seconds)

    def _converted(self, first: av.AudioFrame, frames: Iterator[av.AudioFrame]) -> Iterator[np.ndarray]:
        yield self._conform(first)
        for frame in frames:
            yield self._conform(frame)
        if self._resampler:
            yield self._resampler[1](np.zeros((self.channels, 0), np.float32), last=True)

    def _conform(self, frame: av.AudioFrame) -> np.ndarray:
        """Return a frame as float32 [C, n] with the channels and the rate of the first one."""
        speakers = tuple(channel.name for channel in frame.layout.channels)
        block = fold_channels(to_array(frame), self.channels, speakers)
        if frame.sample_rate != self.sample_rate or self._resampler:
            if self._resampler is None or self._resampler[0] != frame.sample_rate:
                self._resampler = frame.sample_rate, Resampler(frame.sample_rate, self.sample_rate, self.channels)
            block = self._resampler[1](block)
        self._n_decoded += block.shape[1]
        return block

    def _trimmed(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Remove an MP3 encoder's padding at the end. If more follows, files were concatenated, and everything is kept."""
        if self._gapless is None:
            yield from blocks
            return
        missing, padding = self._gapless.n_samples, self._gapless.padding
        waiting: list[np.ndarray] = []
        for block in blocks:
            now, rest = block[:, : max(missing, 0)], block[:, max(missing, 0) :]
            missing -= now.shape[1]
            if now.shape[1]:
                yield now
            if rest.shape[1]:
                waiting.append(rest)
            if sum(part.shape[1] for part in waiting) > padding:
                yield from waiting
                yield from blocks
                return


class _Decoding:
    """Decodes one stream of one container, and detects damage."""

    def __init__(self, reader: AvReader, container: Any, stream: Any) -> None:
        self._note, self._stream = reader.note, stream
        self._format = container.format.name.split(",")[0]
        self._packets = container.demux(stream)
        self._n_packets = self._n_bytes = self._n_samples = 0
        self._indexed = sum(entry.size for entry in stream.index_entries) if self._format == "avi" else 0  # bytes
        self._end: float | None = None  # end of the last frame, in seconds
        self._pending: str | None = None  # counts as damage if more sound follows
        self._cut = False
        self._claimed, self._slack = self._claim(container)

    def _claim(self, container: Any) -> tuple[float, float]:
        """Return the length of the sound in its header and how much shorter it may be, in seconds; 0 if the header has none."""
        stream = self._stream
        context = stream.codec_context
        is_rough = self._format in ROUGH and not context.name.startswith("pcm_")
        if self._format in EXACT or self._format in ROUGH:
            slack = max(SLACK, 3 * context.frame_size / (context.sample_rate or 1)) if is_rough else 0.0
            if stream.duration:
                return float(stream.duration * stream.time_base), slack
            if self._format == "flv" and len(container.streams) == 1 and container.duration:
                return container.duration / av.time_base, slack
        return 0.0, 0.0

    def frames(self) -> Iterator[av.AudioFrame]:
        """Yield the frames in order, as FFmpeg returns them."""
        while (packet := self._guarded(lambda: next(self._packets, None), b"")) is not None:
            data = bytes(packet) if self._format == "mp3" else b""
            self._n_packets += packet.size > 0
            self._n_bytes += packet.size
            self._cut = is_cut(data) if packet.size else self._cut
            for frame in self._guarded(packet.decode, data) or ():
                if self._format not in PLAIN and (packet.is_corrupt or frame.is_corrupt):
                    self._note("the data is corrupt")
                self._follow(frame)
                if frame.samples:
                    yield frame
        self._check_end()

    def _guarded(self, call: Callable[[], T], data: bytes) -> T | None:
        """Call FFmpeg. Its error messages count as damage, unless `data` is a tag between MP3 frames."""
        with av.logging.Capture() as logs:
            try:
                result, error = call(), None
            except av.error.FFmpegError as raised:
                result, error = None, raised
        # FFmpeg is not told how long a WAV is, and complains about a short last packet. `Wave` finds what is missing.
        said = complaints(logs, NO_STREAM if self._format == "wav" else self._stream.index)
        if (error is None and not said) or data.startswith(MARKS):
            return result
        reason = f"FFmpeg: {said[0]}" if said else "the data is corrupt"
        if self._format == "wav" or (data and not any(data)):  # may be padding; Wave knows where the samples end
            self._pending = self._pending or reason
        elif self._format != "mp3" or error is not None:
            self._note(reason)
        return result

    def _follow(self, frame: av.AudioFrame) -> None:
        if self._pending:
            self._note(self._pending)
        self._n_samples += frame.samples
        if self._format in TIMED:
            begin = frame.time if frame.time is not None else self._end
            if begin is not None and self._end is not None and begin - self._end > MAX_JUMP:
                self._note("a part is missing")
            self._end = None if begin is None else begin + frame.samples / frame.sample_rate

    def _check_end(self) -> None:
        rate = self._stream.codec_context.sample_rate or 1
        if self._n_samples < round((self._claimed - self._slack) * rate) - 1:
            self._note(f"cut off: the header promises {self._claimed:.3f} s")
        elif self._cut:
            self._note("cut off in the middle of a frame")
        elif self._format == "mov" and self._n_packets < len(self._stream.index_entries):
            self._note(f"cut off: {self._n_packets} of {len(self._stream.index_entries)} frames are there")
        elif self._n_bytes < self._indexed:
            self._note(f"its index promises {self._indexed} bytes of sound, {self._n_bytes} are there")


def to_array(frame: av.AudioFrame) -> np.ndarray:
    """Convert a frame to float32 [C, n] with full scale at 1."""
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, len(frame.layout.channels)).T
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "u":
        return (array.astype(np.float32) - 128) * np.float32(1 / 128)
    return array.astype(np.float32) * np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))


def complaints(logs: list[tuple[int, str, str]], stream: int = NO_STREAM) -> list[str]:
    """Return FFmpeg's reports of damage: its errors, and its warnings about broken packets of a stream."""
    broken = f"Packet corrupt (stream = {stream},"
    return [text.strip() for level, _, text in logs if level <= av.logging.ERROR or text.startswith(broken)]


def knows(head: bytes) -> bool:
    """Return True if FFmpeg recognizes bytes as the start of a file, even if it cannot continue from there."""
    with av.logging.Capture() as logs:
        try:
            av.open(io.BytesIO(head), options={"format_whitelist": DEMUXERS}, metadata_errors="replace").close()
        except (av.error.FFmpegError, ValueError):
            return any("not on whitelist" not in line for line in complaints(logs))
    return True


def duration_of(file: Any) -> float | None:
    """Return the seconds of sound in a seekable file according to its header; used for progress bars."""
    with av.logging.Capture():
        try:
            with av.open(file, options={"format_whitelist": DEMUXERS}, metadata_errors="replace") as container:
                return container.duration / av.time_base if container.duration else None
        except (av.error.FFmpegError, ValueError):
            return None
