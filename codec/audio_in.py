"""Open audio for reading: a path or a pipe, in any format that FFmpeg or libsndfile can read.

Plain WAV is read here, everything else by FFmpeg, and by libsndfile if FFmpeg cannot. Bytes tell the format, never the name.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np

from .audio_formats import MAX_RATE, MIN_RATE
from .declared_end import claimed_end
from .errors import AudioError, Damage
from .lookahead import LookaheadReader, is_text, open_lookahead
from .mp3_frames import LONGEST_FRAME, Mp3Stream, covers_sound, frame_bytes, id3_size, read_gapless
from .ogg_links import OggLinks
from .wave_in import FORMS, PcmReader, Wave, WaveFile

BLOCK_SECONDS = 1.0
BLOCK_BYTES = 1 << 24  # largest float32 block, for any rate and number of channels
MAX_ID3 = 1 << 28  # bytes
MAX_BOXES = 1 << 16  # bytes of an MP4 file searched for the description of its samples
MAX_HEADERS = 1 << 20  # bytes of a pipe in which a format must be recognized before the pipe is copied to a file
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid")  # of MP4 and QuickTime
ADTS = (b"\xff\xf1", b"\xff\xf9", b"\xff\xf0", b"\xff\xf8")  # of AAC
READABLE_SUFFIXES = frozenset({
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".flac", ".mp3", ".mp2", ".m4a",
    ".m4b", ".aac", ".mp4", ".mov", ".mkv", ".mka", ".webm", ".3gp", ".3g2", ".ogg", ".oga", ".opus", ".spx", ".wma", ".asf",
    ".amr", ".awb", ".ac3", ".eac3", ".ape", ".wv", ".tta", ".tak", ".mpc", ".avi", ".wmv", ".flv", ".mpg", ".mpeg", ".ogv",
    ".m4v",
})  # fmt: skip
AC3 = b"\x0b\x77"
FEW_ZEROS = 64  # bytes, allowed at the end of an MP3 that claims more samples
ASF = b"\x30\x26\xb2\x75"
FORWARD = (  # formats that FFmpeg reads forwards without loss
    b"fLaC", b"\x1a\x45\xdf\xa3", ASF, b"TTA1", b".snd", b"FORM", b"#!AMR", AC3, b"\x47\x40",
)  # fmt: skip


class Reader(Protocol):
    """A reader for one kind of audio."""

    sample_rate: int  # Hz
    channels: int
    n_samples: int | None
    speakers: tuple[str, ...]

    @property
    def damage(self) -> Damage | None:
        """What is wrong with the part read so far, or None."""

    def read(self, n_samples: int) -> np.ndarray:
        """Return the next samples [C, n]; fewer than `n_samples` only at the end."""
        ...


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Properties that a file declares; `n_samples` is None if it does not declare a length."""

    sample_rate: int  # Hz
    channels: int
    n_samples: int | None  # per channel
    speakers: tuple[str, ...] = ()  # "FL", "FR", "FC", ...; empty if unknown
    is_lossy: bool = False  # as MP3 is: its decoder may go a little beyond full scale


class AudioSource:
    """Audio opened for reading in blocks: a path, or '-' for standard input.

    `track` chooses one of several sound tracks, from 1. Damage raises AudioError, unless `lost` is a
    list: then a line about the damage is appended to it, and `blocks` gives the readable audio.
    `notes` holds lines for the user about what is not coded. Raises AudioError if the source is
    missing, a folder, or not audio. `opened` is a pipe that was opened already, to look at its start.
    """

    def __init__(
        self, source: str | os.PathLike[str], track: int | None = None, lost: list[str] | None = None,
        opened: LookaheadReader | None = None,
    ) -> None:  # fmt: skip
        self.name = "standard input" if str(source) == "-" else str(source)
        self._source, self._track, self._lost = source, track, lost
        self.notes: list[str] = []
        self._id3 = b""
        self._told = False
        self._lost_end = ""  # why sound is missing, e.g. a second file follows
        self._lost_at: float | None = None  # seconds, if the loss is not at the end
        self._claimed_end: int | None = None  # byte offset from a header, checked at the end of the stream
        self._packet_bytes = 0  # of a transport stream; 0 for other formats
        self._is_framed = False  # True for frames without a container (MP3, AAC, AC-3)
        self._claimed_samples: int | None = None  # an MP3 is short only if it lacks both claimed bytes and claimed samples
        with contextlib.ExitStack() as stack:
            arriving, file = (opened, None) if opened else open_lookahead(source)
            if file is not None:
                stack.enter_context(file)
            self._stack = stack
            self._reader = reader = self._open(arriving)
            self._arriving, self._file = arriving, file
            self._stack = stack.pop_all()
        is_lossy = getattr(reader, "is_lossy", False)
        self.info = AudioInfo(reader.sample_rate, reader.channels, reader.n_samples, reader.speakers, is_lossy)
        self._note_tracks()
        if not MIN_RATE <= (rate := self.info.sample_rate) <= MAX_RATE:
            self.close()
            raise AudioError(f"{self.name}: a sample rate of {rate} Hz is out of range ({MIN_RATE}..{MAX_RATE})")

    def tags(self) -> list[tuple[str, str]]:
        """Return title, artist, album, date, track and comment as (key, value) pairs; a key may occur more than once."""
        reader = self._reader
        wave = reader.wave if isinstance(reader, PcmReader) else None
        if wave and not (wave.tags or wave.id3 or self._id3):
            return []
        from . import tags

        blocks = [tags.read_id3(block) for block in (self._id3, wave.id3 if wave else b"") if block]
        if wave:
            return tags.merge(*blocks, wave.tags)
        if self._file is not None and self._arriving.size is not None:
            with open(os.dup(self._file.fileno()), "rb") as again, _kept_place(again):
                found = tags.read_tags(again)
        else:
            found = tags.read_tags(io.BytesIO(self._arriving.kept))
        return tags.merge(found, *blocks, tags.from_mapping(getattr(reader, "metadata", {})))

    def _note_tracks(self) -> None:
        """Add a note about the track that is read if there are several and none was chosen."""
        n_tracks: int = getattr(self._reader, "n_tracks", 1)
        if n_tracks > 1 and self._track is None:
            chosen = getattr(self._reader, "track", 1)
            self.notes.append(f"has {n_tracks} sound tracks; number {chosen} is coded, --track chooses another")

    def _open(self, stream: LookaheadReader) -> Reader:
        if not stream.peek(1):
            raise AudioError(f"{self.name}: is empty")
        while (head := stream.peek(10))[:3] == b"ID3" and len(head) == 10 and id3_size(head) < MAX_ID3:
            size = 10 + id3_size(head)
            tag = stream.peek(size + 2 * LONGEST_FRAME)
            self._id3 = self._id3 or tag[:size]
            if covers_sound(tag[:size], tag[size:]):
                self._lost_end, self._lost_at = "its ID3 tag covers sound", 0.0
            stream.skip(size)
        stream.keep()
        head = stream.peek(12)
        if head[:4] in FORMS and head[8:] == b"WAVE":
            return self._open_wave(stream)
        if is_text(stream.peek(512)):
            raise AudioError(f"{self.name}: is text, not audio")
        if stream.peek(4) == b"ECDC":
            raise AudioError(f"{self.name}: is a token file, not audio; `ecdc decode` makes audio of it")
        return self._open_media(stream)

    def _open_wave(self, stream: LookaheadReader) -> Reader:
        if self._track not in (None, 1):
            raise AudioError(f"{self.name}: has 1 sound track; there is no track {self._track}")
        wave = Wave(stream, self.name)
        if wave.format.dtype is not None:
            return PcmReader(wave)
        from .av_reader import AvReader

        damage = lambda: (wave.problem, None) if wave.problem else None  # noqa: E731
        return AvReader([WaveFile(wave)], self.name, options={"ignore_length": "1"}, damage=damage)

    def _open_media(self, stream: LookaheadReader) -> Reader:
        from .av_reader import AvReader

        head = stream.peek(12)
        self._is_framed = is_mp3(head) or head[:2] in (*ADTS, AC3)
        if head[:1] == b"\x47" and stream.peek(377)[::188] == b"\x47" * 3:
            self._packet_bytes = 188
        if head[:4] == b"OggS":
            links = OggLinks(stream)
            return AvReader(links, self.name, self._track, damage=lambda: links.problem)
        if is_mp3(head):
            gapless = read_gapless(stream.peek(4096))
            if gapless is not None and gapless.n_bytes is not None:
                self._claimed_end = stream.position + gapless.n_bytes
                self._claimed_samples = gapless.n_samples
            return AvReader([Mp3Stream(stream)], self.name, self._track, gapless=gapless)
        if stream.size is not None and head[4:8] == b"ftyp" and is_joined_mov(stream.as_seekable(), stream.size):
            self._lost_end = "another MP4 file follows in the same file"
        stream.rewind(stream.position)
        self._note_claim(stream)
        if head.startswith(FORWARD) or head[:2] in ADTS or is_fast_mov(stream):
            return AvReader([stream], self.name, self._track)
        if stream.size is None and not is_known_start(stream.peek(MAX_HEADERS)):
            raise AudioError(f"{self.name}: not audio that can be read (no known format)")
        file = self._stack.enter_context(stream.as_seekable())
        if stream.size is None:
            self._note_cut(claimed_end(_read_at(file)), os.fstat(file.fileno()).st_size)
            file.seek(0)
        try:
            return AvReader([file], self.name, self._track)
        except AudioError:
            reader = open_sndfile(file)
            if reader is None:
                raise
            return reader

    def _note_claim(self, stream: LookaheadReader) -> None:
        """Compare the claimed end with the file's size: now if the size is known, else at the end of the pipe."""
        if stream.size is not None:
            self._note_cut(claimed_end(_read_at(stream.as_seekable(), stream.position)), stream.size - stream.position)
            stream.rewind(stream.position)
        elif stream.peek(4) == ASF:
            self._claimed_end = claimed_end(lambda at, n: stream.peek(at + n)[at:] if at + n <= MAX_HEADERS else b"")
            if self._claimed_end is not None:
                self._claimed_end += stream.position

    def _note_cut(self, claimed: int | None, there: int) -> None:
        if claimed is not None and claimed > there:
            self._lost_end = "cut off, or a part is missing"

    def _note_end(self) -> None:
        """Check the last bytes of formats that declare no length: trailing zeros, or an incomplete packet."""
        most = LONGEST_FRAME if self._claimed_samples is None else FEW_ZEROS
        if self._is_framed and self._arriving.n_zeros > most:
            self._lost_end = self._lost_end or f"its last {self._arriving.n_zeros} bytes are zeros"
        if self._packet_bytes and self._arriving.position % self._packet_bytes:
            self._lost_end = self._lost_end or "cut off in the middle of a packet"

    def blocks(self, n_samples: int | Callable[[], int] | None = None) -> Iterator[np.ndarray]:
        """Yield float32 blocks [C, n] in order. n is `n_samples`, at most what fits into BLOCK_BYTES; the last may be shorter.

        If `n_samples` is a function, it is called before every block.
        Raises AudioError with the time for damage and for a sample that is not finite.
        """
        most = max(1, BLOCK_BYTES // (4 * self.info.channels))
        usual = round(BLOCK_SECONDS * self.info.sample_rate)
        position = 0
        while True:
            size = min((n_samples() if callable(n_samples) else n_samples) or usual, most)
            block = self._reader.read(size)
            if not np.isfinite(block).all():
                where = position + int(np.argmin(np.isfinite(block).all(axis=0)))
                raise AudioError(f"{self.name}: a sample at {where / self.info.sample_rate:.3f} s is not a finite number")
            position += block.shape[1]
            if block.shape[1]:
                yield block
            self._check(position)
            if block.shape[1] < size:
                return

    def again(self, lost: list[str] | None = None) -> AudioSource | None:
        """Open the source once more, from its start; None for standard input and pipes. Its lines of damage go to `lost`."""
        if self._arriving.size is None or str(self._source).startswith("/dev/"):
            return None
        copy = AudioSource(self._source, self._track, None if self._lost is None else [] if lost is None else lost)
        copy.name = self.name
        return copy

    def preview(self) -> Iterator[np.ndarray] | None:
        """Return blocks [C, n] of all audio, without taking them; None if the source can be read only once."""
        copy = self.again()
        if copy is None:
            return None

        def blocks() -> Iterator[np.ndarray]:
            with copy:
                yield from copy.blocks()

        return blocks()

    def _check(self, position: int) -> None:
        """Raise AudioError for damage, or append it to `lost` once."""
        damage = None if self._told else self._reader.damage
        is_short = self._claimed_samples is None or position < self._claimed_samples
        if is_short and getattr(self._reader, "ended", False):
            self._note_cut(self._claimed_end, self._arriving.position)
            self._note_end()
        if damage is None and self._lost_end and getattr(self._reader, "ended", False) and not self._told:
            damage = Damage(self._lost_end, self._lost_at)
        if damage is None:
            return
        self._told = True
        seconds = position / self.info.sample_rate if damage.seconds is None else damage.seconds
        line = f"damaged at {seconds:.3f} s ({damage.reason})"
        if self._lost is None:
            raise AudioError(f"{self.name}: {line}; try --partial")
        self._lost.append(line)

    def close(self) -> None:
        """Close the file and everything opened for it."""
        self._stack.close()

    def __enter__(self) -> AudioSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _kept_place(file: BinaryIO) -> Iterator[None]:
    """Restore the position of a file afterwards: duplicated descriptors share one position."""
    place = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    try:
        file.seek(0)
        yield
    finally:
        os.lseek(file.fileno(), place, os.SEEK_SET)


class SndfileReader:
    """Reads audio with libsndfile."""

    damage: Damage | None = None
    speakers: tuple[str, ...] = ()

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sample_rate, self.channels, self.n_samples = file.samplerate, file.channels, file.frames

    def read(self, n_samples: int) -> np.ndarray:
        """Return the next samples [C, n]; fewer than `n_samples` only at the end."""
        block: np.ndarray = self._file.read(n_samples, dtype="float32", always_2d=True).T
        return block


def open_sndfile(file: Any) -> Reader | None:
    """Return a libsndfile reader for formats that FFmpeg cannot read, or None if libsndfile cannot either."""
    import soundfile

    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:  # by descriptor, so that it cannot guess from a name
        return SndfileReader(soundfile.SoundFile(os.dup(file.fileno()), closefd=True))
    except (soundfile.LibsndfileError, TypeError):
        return None


def _read_at(file: BinaryIO, begin: int = 0) -> Callable[[int, int], bytes]:
    """Return a function that reads bytes of `file` at a position relative to `begin`."""

    def read_at(at: int, n_bytes: int) -> bytes:
        file.seek(begin + at)
        return file.read(n_bytes)

    return read_at


def is_known_start(head: bytes) -> bool:
    """Return True if a stream that starts with `head` may be audio. A `head` that is the whole file always may."""
    from .av_reader import knows

    if len(head) < MAX_HEADERS or head[4:8] in BOXES or knows(head):
        return True
    with tempfile.TemporaryFile() as file:
        file.write(head)
        file.flush()
        return open_sndfile(file) is not None


def is_mp3(head: bytes) -> bool:
    """Return True if bytes start with the header of an MPEG audio frame."""
    return frame_bytes(head) is not None


def is_fast_mov(stream: LookaheadReader) -> bool:
    """Return True if an MP4 or QuickTime stream describes its samples before them, so that it can be read forwards."""
    at = 0
    while at < MAX_BOXES and len(head := stream.peek(at + 8)[at:]) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"moov", b"moof"):
            return True
        if kind not in (b"ftyp", b"styp", b"free", b"skip", b"wide", b"uuid", b"pnot") or size < 8:
            return False
        at += size
    return False


def is_joined_mov(file: BinaryIO, size: int) -> bool:
    """Return True if a file of `size` bytes holds several MP4 files, one after the other."""
    at = n_files = 0
    for _ in range(MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        n_files += head[4:8] == b"ftyp"
        at += length
        if length < 8 or at >= size or n_files > 1:
            break
    return n_files > 1
