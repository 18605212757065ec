"""What survives of a damaged stream: every whole chunk in its place, and silence of exact length where others were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .bytestream import Source
from .chunk import CRC_SIZE, HEAD_SIZE, Chunk, Envelope, decode_codes, parse_head
from .crc import crc32c
from .errors import Corrupt, FormatError, MissingPrior
from .header import Header
from .reader import Reader
from .schema import CRC, MAX_CHUNK_FRAMES, SPAN, SYNC, Kind
from .timing import resampled_length
from .trailer import Index, Trailer, parse_trailer
from .writer import Writer

PIECE = 1 << 16  # bytes read at a time
MIN_CODES_SIZE = HEAD_SIZE + SPAN.sizeof() + 2 + CRC_SIZE  # of a CODES chunk without a payload
MAX_CHECKED = 64  # bytes put through a CRC for each byte of the stream, or sync words could be stacked to take for ever


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames that no whole chunk holds. None of them: the end of the stream is missing."""

    first_frame: int
    n_frames: int
    offset: int  # bytes, where the search for the next chunk began

    def describe(self, header: Header) -> str:
        """In seconds, for people."""
        start = float(self.first_frame / header.frame_rate)
        if not self.n_frames:
            return f"byte {self.offset}: the stream was cut off; it is whole up to {start:.2f} s"
        stop = float((self.first_frame + self.n_frames) / header.frame_rate)
        return f"byte {self.offset}: damaged; silence from {start:.2f} s to {stop:.2f} s"


class Headless:
    """A stream whose own header is damaged, to be read under that of another stream of the same model and settings.

    Tags and lengths are not taken over: they are the other stream's.
    """

    def __init__(self, fileobj: BinaryIO, header: Header) -> None:
        self.header = dataclasses.replace(header, n_samples=None, original_n_samples=None, tags=())
        self._source = Source(fileobj)

    def at_first_chunk(self) -> Source:
        """All bytes: where the first chunk begins is not known."""
        return self._source


class Salvage:
    """Iterate over the chunks of a stream, whatever happened to it after its header.

    Lost frames come as chunks without codes (K = 0), which stand for silence. Afterwards, `lost`
    tells them and `trailer` is the END chunk, or None. Reads forwards, so a pipe will do; holds
    one chunk. Raises Corrupt where the bytes make no sense that could be bounded.
    """

    def __init__(self, reader: Reader | Headless) -> None:
        self.header = reader.header
        self.lost: list[Lost] = []
        self.trailer: Trailer | None = None
        self.n_whole = 0  # chunks of codes that were read so far
        self._source = reader.at_first_chunk()
        self._header_size = self._source.offset or None  # None: of a Headless
        self._buffer = bytearray()
        self._offset = self._source.offset  # of the buffer's first byte
        self._n_checked = 0
        self._decodable: int | None = None  # samples, once all is read

    @property
    def n_samples(self) -> int | None:
        """None until all is read; then as the END chunk tells, or what the codes decode to if it is lost or tells more.

        It can tell more of a segmented stream: how lost frames were shared out over segments is not known.
        """
        return self.trailer.n_samples if self.trailer and self._end_tells() else self._decodable

    @property
    def original_n_samples(self) -> int | None:
        """The same at the original rate."""
        if self._decodable is None:
            return None
        if self.trailer and self._end_tells():
            return self.trailer.original_n_samples
        return resampled_length(self._decodable, self.header.sample_rate, self.header.original_sample_rate)

    def _end_tells(self) -> bool:
        return self.trailer is not None and self._decodable is not None and self.trailer.n_samples <= self._decodable

    def __iter__(self) -> Iterator[Chunk]:
        frame = 0
        lengths: list[int] = []  # of the chunks, in frames
        while True:
            expected = self._offset
            found = self._next_chunk(frame)
            if found is None:
                self.lost.append(Lost(frame, 0, expected))
                self._decodable = self._decodable_of(lengths)
                return
            stop = found.first_frame if isinstance(found, Chunk) else found.index.n_frames
            if stop > frame:
                for chunk in self._silence(Lost(frame, stop - frame, expected)):
                    lengths.append(chunk.n_frames)
                    yield chunk
            if not isinstance(found, Chunk):
                self.trailer, self._decodable = found, self._decodable_of(lengths)
                return
            lengths.append(found.n_frames)
            self.n_whole += 1
            yield found
            frame = found.stop_frame

    def _decodable_of(self, lengths: list[int]) -> int:
        """Samples that chunks of so many frames decode to."""
        n_decodable = Index.of(0, [0] * len(lengths), lengths).n_decodable(self.header)
        return max(0, n_decodable - self.header.pre_skip)

    def _silence(self, lost: Lost) -> Iterator[Chunk]:
        """Chunks for lost frames, no more of them than the bytes in between could have held."""
        at_once = self.header.segment_frames or MAX_CHUNK_FRAMES
        most = at_once * ((self._offset - lost.offset) // MIN_CODES_SIZE + 1)
        if lost.n_frames > most:
            raise Corrupt(lost.offset, f"{lost.n_frames} frames are missing, more than could have stood here")
        self.lost.append(lost)
        for first in range(lost.first_frame, lost.first_frame + lost.n_frames, at_once):
            n_frames = min(at_once, lost.first_frame + lost.n_frames - first)
            yield Chunk(first, np.empty((0, n_frames), np.uint16), (0,) * self.header.n_streams)

    def _next_chunk(self, frame: int) -> Chunk | Trailer | None:
        """The next whole chunk of codes from `frame` on, or the END chunk; None at the end of the bytes."""
        while True:
            at = self._buffer.find(SYNC)
            if at < 0:
                self._drop(max(0, len(self._buffer) - len(SYNC) + 1))
                # Where a chunk ended, just the next head: on a live pipe more may be long in coming.
                if not self._read_more(PIECE if self._buffer else HEAD_SIZE):
                    return None
                continue
            self._drop(at)
            envelope = self._envelope()
            found = envelope and self._understood(envelope, frame)
            if found:
                return found
            self._drop(envelope.size if envelope else 1)

    def _envelope(self) -> Envelope | None:
        """The chunk that the buffer begins with, if its CRC is right."""
        if not self._fill(HEAD_SIZE):
            return None
        try:
            head = parse_head(bytes(self._buffer[:HEAD_SIZE]), self._offset)
        except FormatError:
            return None
        size = HEAD_SIZE + head.body_size + CRC_SIZE
        if not self._fill(size):
            return None
        self._n_checked += size
        if self._n_checked > MAX_CHECKED * (self._source.offset + PIECE):
            raise Corrupt(self._offset, "there are too many beginnings of chunks without their ends")
        data = bytes(self._buffer[:size])
        if crc32c(data[:-CRC_SIZE]) != CRC.parse(data[-CRC_SIZE:]):
            return None
        return Envelope(self._offset, head.kind, head.flags, head.sequence, data[HEAD_SIZE:-CRC_SIZE])

    def _understood(self, envelope: Envelope, frame: int) -> Chunk | Trailer | None:
        """What an envelope holds; None if that is nothing that could come now. Taken out of the buffer otherwise."""
        try:
            if envelope.kind == Kind.END:
                trailer = parse_trailer(envelope, self.header, self._header_size)
                return trailer if trailer.index.n_frames >= frame else None
            chunk = decode_codes(envelope, self.header) if envelope.kind == Kind.CODES else None
        except MissingPrior:
            raise  # nothing is damaged
        except FormatError:
            return None
        if chunk is None or chunk.first_frame < frame or not chunk.n_frames:
            return None
        self._drop(envelope.size)
        return chunk

    def _fill(self, size: int) -> bool:
        """Read until the buffer holds `size` bytes; whether it does."""
        while len(self._buffer) < size:
            if not self._read_more(size - len(self._buffer)):
                return False
        return True

    def _read_more(self, size: int) -> bool:
        data = self._source.read_up_to(min(PIECE, size))
        self._buffer += data
        return bool(data)

    def _drop(self, n_bytes: int) -> None:
        del self._buffer[:n_bytes]
        self._offset += n_bytes


def repair(reader: Reader | Headless, output: BinaryIO) -> list[Lost]:
    """Write a valid stream of what survives, silent where chunks were lost; returns what was.

    Where the end is missing, or tells of more than can be restored, the stream is as long as its codes. Raises ValueError
    if the header is another stream's and no chunk fits it.
    """
    salvage = Salvage(reader)
    header = dataclasses.replace(reader.header, n_samples=None, original_n_samples=None)
    with Writer(output, header) as writer:
        for chunk in salvage:
            writer.append_chunk(chunk)
        if isinstance(reader, Headless) and not salvage.n_whole:
            raise ValueError("no chunk of it fits the other file's header")
        writer.close(salvage.n_samples, salvage.original_n_samples)
    return salvage.lost
