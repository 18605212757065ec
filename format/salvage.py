"""Recover a damaged stream: keep every intact chunk at its position, and replace lost ones by silence of equal length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .bytestream import Source
from .chunk import CRC_SIZE, HEAD_SIZE, Chunk, Envelope, decode_codes, parse_head
from .crc import crc32c
from .errors import ArgumentError, Corrupt, FormatError, MissingPrior
from .header import Header
from .reader import Reader
from .schema import CRC, MAX_CHUNK_FRAMES, SPAN, SYNC, Kind
from .timing import resampled_length
from .trailer import Index, Trailer, parse_trailer
from .writer import Writer

PIECE = 1 << 16  # bytes read at a time
MIN_CODES_SIZE = HEAD_SIZE + SPAN.sizeof() + 2 + CRC_SIZE  # bytes of a CODES chunk without a payload
MAX_CHECKED = 64  # CRC-checked bytes per byte of the stream; without a limit, nested sync words could take quadratic time


@dataclass(frozen=True, slots=True)
class Lost:
    """A range of lost frames. If n_frames is 0, the end of the stream is missing."""

    first_frame: int
    n_frames: int
    offset: int  # in bytes, where the search for the next chunk began

    def describe(self, header: Header) -> str:
        """Return a message for people, with times in seconds."""
        start = float(self.first_frame / header.frame_rate)
        if not self.n_frames:
            return f"byte {self.offset}: the stream was cut off; it is whole up to {start:.2f} s"
        stop = float((self.first_frame + self.n_frames) / header.frame_rate)
        return f"byte {self.offset}: damaged; silence from {start:.2f} s to {stop:.2f} s"


class Headless:
    """A stream with a damaged header, read with the header of another stream of the same model and settings.

    Tags and lengths are not copied, because they belong to the other stream.
    """

    def __init__(self, fileobj: BinaryIO, header: Header) -> None:
        self.header = dataclasses.replace(header, n_samples=None, original_n_samples=None, tags=())
        self._source = Source(fileobj)

    def at_first_chunk(self) -> Source:
        """Return the source at its first byte, because the offset of the first chunk is not known."""
        return self._source


class Salvage:
    """Iterate over the chunks of a stream that may be damaged anywhere after its header.

    Lost frames are yielded as chunks without codes (K = 0), which mean silence. Afterwards, `lost`
    lists them, and `trailer` is the END chunk or None. Reads forwards, so a pipe can be used, and holds
    one chunk at a time. Raises Corrupt if the number of lost frames or the work cannot be bounded.
    """

    def __init__(self, reader: Reader | Headless) -> None:
        self.header = reader.header
        self.lost: list[Lost] = []
        self.trailer: Trailer | None = None
        self.n_whole = 0  # chunks of codes that were read so far
        self._source = reader.at_first_chunk()
        self._header_size = self._source.offset or None  # None: the reader is Headless
        self._buffer = bytearray()
        self._offset = self._source.offset  # of the buffer's first byte
        self._n_checked = 0
        self._found: list[tuple[int, int, int]] = []  # number, bytes and frames of each intact chunk of codes
        self._decodable: int | None = None  # in samples; None until all is read

    @property
    def n_samples(self) -> int | None:
        """Number of samples; None until all is read.

        It is taken from the END chunk, or is what the codes decode to if the END chunk is lost or has a larger number. That
        can happen in a segmented stream, where the division of lost frames into segments is not known.
        """
        return self.trailer.n_samples if self.trailer and self._end_tells() else self._decodable

    @property
    def original_n_samples(self) -> int | None:
        """The same length at the original rate."""
        if self._decodable is None:
            return None
        if self.trailer and self._end_tells():
            return self.trailer.original_n_samples
        return resampled_length(self._decodable, self.header.sample_rate, self.header.original_sample_rate)

    def check_saved(self) -> None:
        """Raise FormatError if all was read, and all chunks are lost."""
        if self.lost and not self.n_whole:
            raise FormatError(self.lost[0].offset, "no chunk of this file is intact, so none of its sound can be saved")

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
        """Return the number of samples that chunks of these lengths, in frames, decode to."""
        n_decodable = Index.of(0, [0] * len(lengths), lengths).n_decodable(self.header)
        return max(0, n_decodable - self.header.pre_skip)

    def _silence(self, lost: Lost) -> Iterator[Chunk]:
        """Yield silent chunks for lost frames; raise Corrupt if the skipped bytes are too few for them."""
        at_once = self.header.segment_frames or MAX_CHUNK_FRAMES
        most = at_once * ((self._offset - lost.offset) // MIN_CODES_SIZE + 1)
        if lost.n_frames > most:
            raise Corrupt(lost.offset, f"{lost.n_frames} frames are missing, more than fit here")
        self.lost.append(lost)
        for first in range(lost.first_frame, lost.first_frame + lost.n_frames, at_once):
            n_frames = min(at_once, lost.first_frame + lost.n_frames - first)
            yield Chunk(first, np.empty((0, n_frames), np.uint16), (0,) * self.header.n_streams)

    def _next_chunk(self, frame: int) -> Chunk | Trailer | None:
        """Return the next intact chunk of codes at or after `frame`, or the END chunk; None at the end of the bytes."""
        while True:
            at = self._buffer.find(SYNC)
            if at < 0:
                self._drop(max(0, len(self._buffer) - len(SYNC) + 1))
                # After a complete chunk, read only the next head: on a live pipe, more bytes may take long to arrive.
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
        """Return the chunk at the start of the buffer if it is complete and its CRC is right, else None."""
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
            raise Corrupt(self._offset, "too many chunks begin here without an end")
        data = bytes(self._buffer[:size])
        if crc32c(data[:-CRC_SIZE]) != CRC.parse(data[-CRC_SIZE:]):
            return None
        return Envelope(self._offset, head.kind, head.flags, head.sequence, data[HEAD_SIZE:-CRC_SIZE])

    def _understood(self, envelope: Envelope, frame: int) -> Chunk | Trailer | None:
        """Return the contents of an envelope and drop a chunk of codes from the buffer; None if they do not fit here."""
        try:
            if envelope.kind == Kind.END:
                trailer = parse_trailer(envelope, self.header, None)
                return trailer if self._ends_here(trailer, frame) else None
            chunk = decode_codes(envelope, self.header) if envelope.kind == Kind.CODES else None
        except MissingPrior:
            raise  # this is not damage
        except FormatError:
            return None
        if chunk is None or chunk.first_frame < frame or not chunk.n_frames:
            return None
        self._drop(envelope.size)
        self._found.append((envelope.sequence, envelope.size, chunk.n_frames))
        return chunk

    def _ends_here(self, trailer: Trailer, frame: int) -> bool:
        """Return True if an END chunk is that of this stream, whose chunks so far end at `frame`.

        If bytes were lost or inserted before it, it is not where its index says. It is then taken only if the index has every
        chunk that was found, and ends at this frame: it could be the end of another stream that follows.
        """
        index = trailer.index
        if self._header_size in (None, index.offsets[0]):
            return index.n_frames >= frame
        entries = list(zip(np.diff(index.offsets).tolist(), np.diff(index.frames).tolist(), strict=True))
        is_ours = all(i < len(entries) and entries[i] == (size, n_frames) for i, size, n_frames in self._found)
        return index.n_frames == frame and is_ours

    def _fill(self, size: int) -> bool:
        """Read until the buffer holds `size` bytes; return False if the stream ends before."""
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
    """Write a valid stream of the intact chunks, with silence in place of lost ones; return the lost ranges.

    If the END chunk is missing, or has a larger length than can be restored, the stream is as long as its codes. Raises
    FormatError if all chunks are lost. If `reader` is Headless, this is a ValueError: no chunk fits its header.
    """
    salvage = Salvage(reader)
    header = dataclasses.replace(reader.header, n_samples=None, original_n_samples=None)
    with Writer(output, header) as writer:
        for chunk in salvage:
            writer.append_chunk(chunk)
        if isinstance(reader, Headless) and not salvage.n_whole:
            raise ArgumentError("no chunk of it fits the other file's header")
        salvage.check_saved()
        writer.close(salvage.n_samples, salvage.original_n_samples)
    return salvage.lost
