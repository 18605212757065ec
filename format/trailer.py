"""The END chunk: what is known only when all codes are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .chunk import CRC_SIZE, HEAD_SIZE, Envelope, seal
from .errors import Corrupt, UnsupportedVersion
from .header import Header
from .schema import END, END_SIZE, INDEX_ENTRY, FieldError, Kind, parse


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Where every chunk before END stands. All arrays are [n + 1] int64 for n chunks; the last value is the end."""

    offsets: NDArray[np.int64]  # bytes from the start of the stream
    frames: NDArray[np.int64]  # first frame; a chunk without frames repeats the next one's

    @classmethod
    def of(
        cls, header_size: int, sizes: Sequence[int] | NDArray[np.uint32], n_frames: Sequence[int] | NDArray[np.uint16]
    ) -> Index:
        """From the bytes and the frames of each chunk."""
        return cls(_cumulate(header_size, sizes), _cumulate(0, n_frames))

    @property
    def n_frames(self) -> int:
        """T of the whole stream."""
        return int(self.frames[-1])

    def find(self, frame: int) -> int:
        """The number of the chunk that holds `frame`; the number of chunks if none does."""
        return int(np.searchsorted(self.frames, frame, side="right")) - 1

    def n_decodable(self, header: Header) -> int:
        """How many samples all codes decode to, the pre-skip and the padding included."""
        if not header.segment_length:
            return self.n_frames * header.hop_length
        lengths = np.diff(self.frames)
        lengths = lengths[lengths > 0]
        if not len(lengths):
            return 0
        return (len(lengths) - 1) * header.segment_stride + int(lengths[-1]) * header.hop_length


@dataclass(frozen=True, slots=True, eq=False)
class Trailer:
    """What the END chunk says."""

    n_samples: int  # at the codec's rate
    original_n_samples: int
    checksum: int  # see codes_checksum
    index: Index

    def to_bytes(self) -> bytes:
        """The END chunk on the wire."""
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
        return seal(Kind.END, 0, len(entries), body)


def parse_trailer(envelope: Envelope, header: Header, header_size: int | None) -> Trailer:
    """Read the envelope of an END chunk and check it against the header and against the place where it stands.

    With None for `header_size`, of a stream whose own header is lost, the place is not checked.
    """
    offset = envelope.offset
    if envelope.flags:
        raise UnsupportedVersion(offset, f"the END chunk has unknown flags {envelope.flags:#04x}")
    at = len(envelope.body) - END_SIZE.sizeof()
    fields = parse(END, envelope.body[: max(at, 0)], envelope.body_offset, index_size=INDEX_ENTRY.itemsize * envelope.sequence)
    size = END_SIZE.parse(envelope.body[at:])
    if size != envelope.size:
        raise Corrupt(envelope.body_offset + at, f"the END chunk says that it has {size} bytes, and has {envelope.size}")
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
