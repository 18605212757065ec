"""The END chunk: lengths, checksum and index, which are known only after all codes are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .chunk import CRC_SIZE, HEAD_SIZE, Envelope, build_chunk
from .errors import Corrupt, UnsupportedVersion
from .header import Header
from .schema import END, END_SIZE, INDEX_ENTRY, FieldError, Kind, parse


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Position of every chunk before END. All arrays are [n + 1] int64 for n chunks; the last value is the end."""

    offsets: NDArray[np.int64]  # bytes from the start of the stream
    frames: NDArray[np.int64]  # first frame; for a chunk without frames, that of the next chunk

    @classmethod
    def of(
        cls, header_size: int, sizes: Sequence[int] | NDArray[np.uint32], n_frames: Sequence[int] | NDArray[np.uint16]
    ) -> Index:
        """Make an index from the sizes of the chunks in bytes and in frames."""
        return cls(_cumulate(header_size, sizes), _cumulate(0, n_frames))

    @property
    def n_frames(self) -> int:
        """T of the whole stream."""
        return int(self.frames[-1])

    def find(self, frame: int) -> int:
        """Return the number of the chunk that holds `frame`, or n, the number of chunks, if there is none."""
        return int(np.searchsorted(self.frames, frame, side="right")) - 1

    def n_decodable(self, header: Header) -> int:
        """Return how many samples all codes decode to, including pre-skip and padding."""
        if not header.segment_length:
            return self.n_frames * header.hop_length
        lengths = np.diff(self.frames)
        lengths = lengths[lengths > 0]
        if not len(lengths):
            return 0
        return (len(lengths) - 1) * header.segment_stride + int(lengths[-1]) * header.hop_length


@dataclass(frozen=True, slots=True, eq=False)
class Trailer:
    """Contents of the END chunk."""

    n_samples: int  # at the codec's rate
    original_n_samples: int
    checksum: int  # see codes_checksum
    index: Index

    def to_bytes(self) -> bytes:
        """Return the END chunk as bytes."""
        entries = np.empty(len(self.index.offsets) - 1, INDEX_ENTRY)
        entries["size"], entries["n_frames"] = np.diff(self.index.offsets), np.diff(self.index.frames)
        body = END.build(
            {
                "n_samples": self.n_samples,
                "original_n_samples": self.original_n_samples,
                "checksum": self.checksum,
                "index": entries.tobytes(),
                "extra": b"",
            },
            index_size=entries.nbytes,
        )
        body += END_SIZE.build(HEAD_SIZE + len(body) + END_SIZE.sizeof() + CRC_SIZE)
        return build_chunk(Kind.END, 0, len(entries), body)


def parse_trailer(envelope: Envelope, header: Header, header_size: int | None) -> Trailer:
    """Parse the envelope of an END chunk and check it against the header and its own offset; raises FormatError.

    Give None for `header_size` if the stream's own header is lost; the offset is then not checked.
    """
    offset = envelope.offset
    if envelope.flags:
        raise UnsupportedVersion(offset, f"the END chunk has unknown flags {envelope.flags:#04x}")
    at = len(envelope.body) - END_SIZE.sizeof()
    fields = parse(END, envelope.body[: max(at, 0)], envelope.body_offset, index_size=INDEX_ENTRY.itemsize * envelope.sequence)
    size = END_SIZE.parse(envelope.body[at:])
    if size != envelope.size:
        raise Corrupt(envelope.body_offset + at, f"the END chunk states a size of {size} bytes, but has {envelope.size}")
    entries = np.frombuffer(fields.index, INDEX_ENTRY)
    if header_size is None:
        header_size = offset - int(entries["size"].sum(dtype=np.int64))
    index = Index.of(header_size, entries["size"], entries["n_frames"])
    if index.offsets[-1] != offset:
        raise Corrupt(offset, f"the index places the END chunk at byte {index.offsets[-1]}")
    try:
        header.check_lengths(fields.n_samples, fields.original_n_samples, index.n_decodable(header))
    except FieldError as error:
        raise Corrupt(offset, f"the END chunk: {error}") from None
    return Trailer(fields.n_samples, fields.original_n_samples, fields.checksum, index)


def _cumulate(start: int, steps: Sequence[int] | NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    total = np.empty(len(steps) + 1, np.int64)
    total[0] = start
    np.cumsum(steps, dtype=np.int64, out=total[1:])
    total[1:] += start
    return total
