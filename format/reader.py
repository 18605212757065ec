"""Stream -> codes: forwards from a pipe, or from any frame of a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .bytestream import Source
from .chunk import (
    CRC_SIZE,
    HEAD_SIZE,
    Chunk,
    Envelope,
    codes_checksum,
    decode_codes,
    decode_parts,
    gather,
    outline,
    parse_head,
    read_envelope,
)
from .errors import Corrupt, FormatError, MissingPrior
from .header import Header, read_header
from .schema import END_SIZE, MAJOR, SPAN, SYNC, Kind, parse
from .timing import check_range
from .trailer import Index, Trailer, parse_trailer


class Reader:
    """Read a stream from a binary file object, from where that stands.

    The header is read at once. Every other byte is checked as it is read, and whatever is wrong raises a FormatError
    that tells where. A file is read from any frame, through its index or, if it was cut off, by a scan over its chunks;
    a pipe is read once, forwards. Threads may share the Reader of a file.
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
        """What the END chunk says; None if it is lost, or on a pipe before it has come."""
        self._load_index()
        return self._trailer

    @property
    def index(self) -> Index:
        """Where every chunk of a file stands; of a file that was cut off, of its whole chunks.

        Raises io.UnsupportedOperation on a pipe before its end.
        """
        index = self._load_index()
        if index is None:
            raise io.UnsupportedOperation("a pipe has no index before its end")
        return index

    @property
    def n_frames(self) -> int | None:
        """T of the stream, or of its whole chunks if it was cut off; None on a pipe before its end."""
        index = self._load_index()
        return None if index is None else index.n_frames

    @property
    def n_samples(self) -> int | None:
        """N that decoding gives at the codec's rate; None while unknown."""
        return self._length("n_samples")

    @property
    def original_n_samples(self) -> int | None:
        """N at the original rate; None while unknown."""
        return self._length("original_n_samples")

    @property
    def n_bytes(self) -> int:
        """Bytes of the stream; on a pipe, of what was read so far."""
        return self._source.offset if self._source.size is None else self._source.size

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def chunks(self, start_frame: int = 0, stop_frame: int | None = None) -> Iterator[Chunk]:
        """Yield the chunks that hold any frame of [start_frame, stop_frame), whole; None: to the end.

        If the stream was cut off before that, raises Truncated after the last whole chunk.
        """
        return self._walk(start_frame, stop_frame, lambda envelope, header: (decode_codes(envelope, header),))

    def parts(self, n_first: int) -> Iterator[Chunk]:
        """Yield all frames as `chunks` does, but chunks of at least twice `n_first` frames in two parts.

        The first part has `n_first` frames, and comes before the rest is decoded. If the rest is damaged, that raises as
        usual, after the first part.
        """
        return self._walk(0, None, lambda envelope, header: decode_parts(envelope, header, n_first))

    def verify(self) -> MissingPrior | None:
        """Check every byte up to the end of the stream, for which no model is needed.

        Returns the error of an entropy prior that is not here: the codes then stay unread, and their CRCs speak for them.
        Raises FormatError for anything that is wrong.
        """
        missing: list[MissingPrior] = []

        def decode(envelope: Envelope, header: Header) -> Iterable[Chunk]:
            if not missing:
                try:
                    return (decode_codes(envelope, header),)
                except MissingPrior as error:
                    missing.append(error)
            return (outline(envelope, header),)

        for _ in self._walk(0, None, decode):
            pass
        return missing[0] if missing else None

    def _walk(
        self, start_frame: int, stop_frame: int | None, decode: Callable[[Envelope, Header], Iterable[Chunk]]
    ) -> Iterator[Chunk]:
        """`chunks`, with another way from an envelope to the parts that it holds."""
        offset, sequence, frame = self._place(start_frame)
        seen = _Seen(self._header_size) if sequence == 0 else None
        while stop_frame is None or frame < stop_frame:
            with self._source.lock:
                self._source.seek(offset)
                envelope = read_envelope(self._source)
            if envelope.sequence != sequence:
                raise Corrupt(offset, f"chunk {sequence} must stand here, got chunk {envelope.sequence}")
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
        """The codes [R, t] of the frames [start_frame, stop_frame); None: to the end.

        Where K varies, each stream gives the codebooks that all of these frames have: their finer ones are left out.
        Raises ValueError if the stream has no such frames.
        """
        return self.span(start_frame, stop_frame).codes

    def span(self, start_frame: int = 0, stop_frame: int | None = None) -> Chunk:
        """The same codes as one chunk, which knows the K of each stream."""
        check_range(start_frame, stop_frame)
        return gather(self.chunks(start_frame, stop_frame), start_frame, stop_frame)

    def codebooks_in_use(self) -> set[tuple[int, ...]]:
        """Every K of each stream that the chunks have. Of a file only their heads are read, and no CRC is checked."""
        if not self._source.seekable:
            return {chunk.n_codebooks for chunk in self._walk(0, None, lambda *where: (outline(*where),))}
        found = set()
        end = HEAD_SIZE + SPAN.sizeof() + 1 + self.header.n_streams  # K of each stream follows the span and a byte
        for offset, size in zip(self.index.offsets[:-1], np.diff(self.index.offsets), strict=True):
            with self._source.lock:
                self._source.seek(int(offset))
                head = self._source.read(min(end, int(size)), "a chunk's head")
            if head[len(SYNC)] == Kind.CODES and len(head) == end:
                found.add(tuple(head[-self.header.n_streams :]))
        return found

    def at_first_chunk(self) -> Source:
        """The bytes from the first chunk on, for whoever reads them in another way; a pipe must not have been read yet."""
        self._source.seek(self._header_size)
        return self._source

    def _length(self, name: str) -> int | None:
        known: int | None = getattr(self.header, name)
        return known if known is not None or self.trailer is None else getattr(self.trailer, name)

    def _place(self, frame: int) -> tuple[int, int, int]:
        """Byte offset, sequence number and first frame of the chunk to start from for `frame`."""
        index = self._load_index() if frame else None
        if index is None:
            return self._header_size, 0, 0
        i = index.find(frame)
        return int(index.offsets[i]), i, int(index.frames[i])

    def _finish(self, envelope: Envelope, n_frames: int, seen: _Seen | None) -> None:
        """Check the END chunk against all that came before it, if that was seen, and the end of the stream."""
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
        """The END chunk of a file, from its last bytes; None if there is none."""
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
        """The index of the whole chunks that a file starts with, from their heads alone."""
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
    """What an iteration from the first chunk has met, to hold against the END chunk."""

    def __init__(self, header_size: int) -> None:
        self.header_size = header_size
        self.sizes: list[int] = []
        self.n_frames: list[int] = []
        self.checksum: int | None = 0  # None: codes were not decoded

    def add(self, size: int, n_frames: int) -> None:
        """A chunk has so many bytes and frames."""
        self.sizes.append(size)
        self.n_frames.append(n_frames)

    def add_codes(self, chunk: Chunk) -> None:
        """These codes come next."""
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
