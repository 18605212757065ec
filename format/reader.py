"""Read codes from a stream: forwards from a pipe, or from any frame of a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .arguments import whole_number
from .bytestream import Source
from .chunk import (
    CRC_SIZE,
    HEAD_SIZE,
    Chunk,
    Envelope,
    codes_checksum,
    decode_codes,
    decode_parts,
    decode_without_codes,
    merge_chunks,
    parse_head,
    read_envelope,
)
from .errors import Corrupt, FormatError, MissingPrior
from .header import Header, read_header
from .schema import END_SIZE, MAJOR, SPAN, SYNC, Kind, parse
from .timing import check_range, check_start
from .trailer import Index, Trailer, parse_trailer


class Reader:
    """Read a stream from a binary file object, starting at its current position.

    The header is read at once. Every other byte is checked as it is read, and any fault raises a FormatError with the
    byte offset. A file can be read from any frame: through its index or, if it was cut off, by a scan over its chunks.
    A pipe is read once, forwards. Threads may share the Reader of a file.
    """

    version = MAJOR  # of the container

    def __init__(self, fileobj: BinaryIO) -> None:
        self._source = Source(fileobj)
        self.header = read_header(self._source)
        self._header_size = self._source.offset
        self._index: Index | None = None
        self._trailer: Trailer | None = None

    @property
    def trailer(self) -> Trailer | None:
        """Contents of the END chunk; None if it is missing, or not read yet from a pipe."""
        self._load_index()
        return self._trailer

    @property
    def index(self) -> Index:
        """Byte offset and first frame of every chunk. For a truncated file, of the complete chunks only.

        Raises io.UnsupportedOperation on a pipe before its end.
        """
        index = self._load_index()
        if index is None:
            raise io.UnsupportedOperation("a pipe has no index before its end")
        return index

    @property
    def n_frames(self) -> int | None:
        """T of the stream, or of its complete chunks if it was cut off; None on a pipe before its end."""
        index = self._load_index()
        return None if index is None else index.n_frames

    @property
    def n_samples(self) -> int | None:
        """Number of decoded samples N at the codec's rate; None while unknown."""
        return self._length("n_samples")

    @property
    def original_n_samples(self) -> int | None:
        """Number of samples N at the original rate; None while unknown."""
        return self._length("original_n_samples")

    @property
    def n_bytes(self) -> int:
        """Size of the stream in bytes; on a pipe, the bytes read so far."""
        return self._source.offset if self._source.size is None else self._source.size

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def chunks(self, start_frame: int = 0, stop_frame: int | None = None) -> Iterator[Chunk]:
        """Yield every chunk that overlaps the frames [start_frame, stop_frame), uncut. A stop of None means the end.

        Raises Truncated after the last complete chunk if the stream was cut off before `stop_frame`.
        """
        start_frame = whole_number("start_frame", start_frame, 0)
        stop_frame = None if stop_frame is None else whole_number("stop_frame", stop_frame)
        return self._walk(start_frame, stop_frame, lambda envelope, header: (decode_codes(envelope, header),))

    def parts(self, n_first: int) -> Iterator[Chunk]:
        """Yield all frames as `chunks` does, but split chunks of at least 2 * `n_first` frames into two parts.

        The first part has `n_first` frames and is yielded before the rest is decoded. If the rest is damaged, the usual
        error is raised after the first part.
        """
        return self._walk(0, None, lambda envelope, header: decode_parts(envelope, header, n_first))

    def verify(self) -> MissingPrior | None:
        """Check every byte up to the end of the stream. No model is needed.

        Returns a MissingPrior error if the entropy prior is not installed: the codes are then not decoded, only their
        CRCs are checked. Otherwise returns None. Raises FormatError for any fault.
        """
        missing: list[MissingPrior] = []

        def decode(envelope: Envelope, header: Header) -> Iterable[Chunk]:
            if not missing:
                try:
                    return (decode_codes(envelope, header),)
                except MissingPrior as error:
                    missing.append(error)
            return (decode_without_codes(envelope, header),)

        for _ in self._walk(0, None, decode):
            pass
        return missing[0] if missing else None

    def _walk(
        self, start_frame: int, stop_frame: int | None, decode: Callable[[Envelope, Header], Iterable[Chunk]]
    ) -> Iterator[Chunk]:
        """Yield chunks as `chunks` does; `decode` turns an envelope into one or more Chunks."""
        offset, sequence, frame = self._place(start_frame)
        seen = _Seen(self._header_size) if sequence == 0 else None
        while stop_frame is None or frame < stop_frame:
            with self._source.lock:
                self._source.seek(offset)
                envelope = read_envelope(self._source)
            if envelope.sequence != sequence:
                raise Corrupt(offset, f"chunk {sequence} was expected here, got chunk {envelope.sequence}")
            if envelope.kind == Kind.END:
                self._finish(envelope, frame, seen)
                return
            first_frame = frame
            for part in decode(envelope, self.header) if envelope.kind == Kind.CODES else ():
                if part.first_frame != frame:
                    raise Corrupt(offset, f"chunk {sequence} must start at frame {frame}, got {part.first_frame}")
                if seen:
                    seen.add_codes(part)
                frame = part.stop_frame
                if frame > start_frame:
                    yield part
            if seen:
                seen.add(envelope.size, frame - first_frame)
            offset += envelope.size
            sequence += 1

    def codes(self, start_frame: int = 0, stop_frame: int | None = None) -> NDArray[np.uint16]:
        """Return the codes [R, t] of the frames [start_frame, stop_frame). A stop of None means the end.

        If K varies, each stream returns only the codebooks that all of these frames have; finer ones are dropped.
        Raises ValueError if the stream does not have these frames.
        """
        return self.span(start_frame, stop_frame).codes

    def span(self, start_frame: int = 0, stop_frame: int | None = None) -> Chunk:
        """Return the same codes as one Chunk, which also holds the K of each stream."""
        check_range(start_frame, stop_frame)
        found = merge_chunks(self.chunks(start_frame, stop_frame), start_frame, stop_frame)
        check_start(start_frame, self.n_frames)
        return found

    def codebooks_in_use(self) -> set[tuple[int, ...]]:
        """Return the distinct K tuples (one K per stream) of all chunks. In a file, only heads are read, without CRC checks."""
        if not self._source.seekable:
            return {chunk.n_codebooks for chunk in self._walk(0, None, lambda *where: (decode_without_codes(*where),))}
        found = set()
        end = HEAD_SIZE + SPAN.sizeof() + 1 + self.header.n_streams  # the K of each stream follows the span and one byte
        for offset, size in zip(self.index.offsets[:-1], np.diff(self.index.offsets), strict=True):
            with self._source.lock:
                self._source.seek(int(offset))
                head = self._source.read(min(end, int(size)), "a chunk's head")
            if head[len(SYNC)] == Kind.CODES and len(head) == end:
                found.add(tuple(head[-self.header.n_streams :]))
        return found

    def at_first_chunk(self) -> Source:
        """Return the source, positioned at the first chunk, for another reader. A pipe must not have been read before."""
        self._source.seek(self._header_size)
        return self._source

    def _length(self, name: str) -> int | None:
        known: int | None = getattr(self.header, name)
        return known if known is not None or self.trailer is None else getattr(self.trailer, name)

    def _place(self, frame: int) -> tuple[int, int, int]:
        """Return byte offset, sequence number and first frame of the chunk that holds `frame`; without an index, of chunk 0."""
        index = self._load_index() if frame else None
        if index is None:
            return self._header_size, 0, 0
        i = index.find(frame)
        return int(index.offsets[i]), i, int(index.frames[i])

    def _finish(self, envelope: Envelope, n_frames: int, seen: _Seen | None) -> None:
        """Check the END chunk against all chunks before it, if they were read, and check that nothing follows it."""
        trailer = parse_trailer(envelope, self.header, self._header_size)
        if trailer.index.n_frames != n_frames or (seen and not seen.agrees(trailer)):
            raise Corrupt(envelope.offset, "the END chunk does not describe the chunks before it")
        end = envelope.offset + envelope.size
        with self._source.lock:
            self._source.seek(end)
            if not self._source.at_end():
                raise Corrupt(end, "bytes follow the END chunk")
        self._trailer, self._index = trailer, trailer.index

    def _load_index(self) -> Index | None:
        if self._index is None and self._source.seekable:
            with self._source.lock:
                self._trailer = self._find_trailer()
                self._index = self._scan() if self._trailer is None else self._trailer.index
        return self._index

    def _find_trailer(self) -> Trailer | None:
        """Find the END chunk of a file through its last bytes; return None if there is none."""
        source = self._source
        assert source.size is not None
        at = source.size - CRC_SIZE - END_SIZE.sizeof()
        if at < self._header_size:
            return None
        source.seek(at)
        offset = source.size - END_SIZE.parse(source.read(END_SIZE.sizeof(), "the END chunk's size"))
        if not self._header_size <= offset <= at:
            return None
        source.seek(offset)
        try:
            envelope = read_envelope(source)
        except FormatError:
            return None
        if envelope.kind != Kind.END or source.offset != source.size:
            return None
        return parse_trailer(envelope, self.header, self._header_size)

    def _scan(self) -> Index:
        """Return the index of the complete chunks at the start of a file, reading only their heads."""
        source = self._source
        assert source.size is not None
        sizes: list[int] = []
        n_frames: list[int] = []
        offset = self._header_size
        while True:
            source.seek(offset)
            try:
                head = parse_head(source.read(HEAD_SIZE, "a head"), offset)
                size = HEAD_SIZE + head.body_size + CRC_SIZE
                if head.kind == Kind.END or head.sequence != len(sizes) or offset + size > source.size:
                    break
                span = parse(SPAN, source.read(SPAN.sizeof(), "a span"), source.offset) if head.kind == Kind.CODES else None
            except FormatError:
                break
            sizes.append(size)
            n_frames.append(span.n_frames if span else 0)
            offset += size
        return Index.of(self._header_size, sizes, n_frames)


class _Seen:
    """Record of the chunks read so far, starting at the first, to compare with the END chunk."""

    def __init__(self, header_size: int) -> None:
        self.header_size = header_size
        self.sizes: list[int] = []
        self.n_frames: list[int] = []
        self.checksum: int | None = 0  # None: some codes were not decoded

    def add(self, size: int, n_frames: int) -> None:
        """Add the size of a chunk in bytes and in frames."""
        self.sizes.append(size)
        self.n_frames.append(n_frames)

    def add_codes(self, chunk: Chunk) -> None:
        """Continue the checksum with the codes of the next chunk."""
        if len(chunk.codes) != sum(chunk.n_codebooks):
            self.checksum = None
        elif self.checksum is not None:
            self.checksum = codes_checksum(chunk.codes, self.checksum)

    def agrees(self, trailer: Trailer) -> bool:
        index = Index.of(self.header_size, self.sizes, self.n_frames)
        return (
            self.checksum in (None, trailer.checksum)
            and np.array_equal(trailer.index.offsets, index.offsets)
            and np.array_equal(trailer.index.frames, index.frames)
        )
