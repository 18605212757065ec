"""Chunks: the framing common to all kinds, and the coding of CODES chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import fast_fields
from .bitpack import pack_codes, unpack_codes
from .bytestream import Source
from .crc import crc32c
from .entropy.installed_priors import load_prior
from .errors import ArgumentError, Corrupt, OverLimit, UnsupportedVersion
from .header import Header
from .schema import (
    CHUNK,
    CRC,
    HAS_SCALE,
    INDEX_ENTRY,
    MAX_BODY,
    MAX_CHUNK_CODES,
    MAX_PRIOR_CODES,
    SYNC,
    Entropy,
    Kind,
)

if TYPE_CHECKING:
    from .entropy.prior import Coding

HEAD_SIZE: int = CHUNK.sizeof()
CRC_SIZE: int = CRC.sizeof()


@dataclass(frozen=True, slots=True)
class Envelope:
    """One chunk of any kind as stored: its CRC is checked, its body is not parsed yet."""

    offset: int  # of the sync word, in bytes from the start of the stream
    kind: int
    flags: int
    sequence: int
    body: bytes

    @property
    def body_offset(self) -> int:
        return self.offset + HEAD_SIZE

    @property
    def size(self) -> int:
        """Bytes of the whole chunk."""
        return HEAD_SIZE + len(self.body) + CRC_SIZE


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive frames of codes, decodable without any other chunk.

    codes is [R, T] uint16, with R = sum(n_codebooks): the codebooks of the first stream from coarse to fine, then
    those of the next stream. K may differ between streams and between chunks; K = 0 means silence.
    """

    first_frame: int
    codes: NDArray[np.uint16]
    n_codebooks: tuple[int, ...]  # K of each stream
    scale: float | None = None  # of a segment: factor for its decoded samples, a float32 value

    @property
    def n_frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def stop_frame(self) -> int:
        return self.first_frame + self.n_frames

    def streams(self) -> tuple[NDArray[np.uint16], ...]:
        """Return the codes of each stream, [K, T]."""
        return tuple(self.codes[a:b] for a, b in pairwise(accumulate(self.n_codebooks, initial=0)))


def merge_chunks(chunks: Iterable[Chunk], start_frame: int, stop_frame: int | None) -> Chunk:
    """Merge `chunks` and return the frames [start_frame, stop_frame) as one chunk without a scale; None: to the end.

    If K varies, each stream keeps only the codebooks that all of these frames have; finer ones are dropped. Raises
    ValueError if the chunks end before `stop_frame`. Without chunks, the codes are [0, 0].
    """
    held = list(chunks)
    end = held[-1].stop_frame if held else start_frame
    if stop_frame is not None and end < stop_frame:
        raise ArgumentError(f"frames {start_frame} to {stop_frame} were requested, but the stream ends at frame {end}")
    if not held:
        return Chunk(start_frame, np.empty((0, 0), np.uint16), ())
    ks = tuple(int(k) for k in np.min([chunk.n_codebooks for chunk in held], axis=0))
    rows = [np.concatenate([codes[:k] for codes, k in zip(chunk.streams(), ks, strict=True)]) for chunk in held]
    first = held[0].first_frame
    codes = np.concatenate(rows, axis=1)[:, start_frame - first : None if stop_frame is None else stop_frame - first]
    return Chunk(start_frame, codes, ks)


def build_chunk(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a complete chunk as bytes: head, `body` and CRC."""
    data = fast_fields.build_head(kind, flags, sequence, len(body)) + body
    return data + bytes(CRC.build(crc32c(data)))


def read_envelope(source: Source) -> Envelope:
    """Read the chunk that starts at the current position of `source` and check its CRC; raises FormatError."""
    offset = source.offset
    head = source.read(HEAD_SIZE, "the next chunk's head", start=offset)
    fields = parse_head(head, offset)
    what = f"chunk {fields.sequence}"
    rest = source.read(fields.body_size + CRC_SIZE, what, start=offset)
    body, stored = rest[:-CRC_SIZE], CRC.parse(rest[-CRC_SIZE:])
    found = crc32c(body, crc32c(head))
    if found != stored:
        raise Corrupt(offset, f"{what} has the CRC {stored:08x}, its bytes give {found:08x}")
    return Envelope(offset, fields.kind, fields.flags, fields.sequence, body)


def parse_head(head: bytes, offset: int) -> Any:
    """Parse the fields of CHUNK from its bytes, whose CRC is not checked yet; raises Corrupt or OverLimit."""
    if head[: len(SYNC)] != SYNC:
        raise Corrupt(offset, f"a chunk must start here with {SYNC.hex()}, got {head[: len(SYNC)].hex()}")
    fields = fast_fields.parse_head(head)
    limit = MAX_BODY + INDEX_ENTRY.itemsize * fields.sequence if fields.kind == Kind.END else MAX_BODY
    if fields.body_size > limit:
        raise OverLimit(offset, f"a chunk's body must be at most {limit} bytes, got {fields.body_size}")
    return fields


def encode_codes(chunk: Chunk, header: Header, sequence: int, begun: Coding | None = None) -> bytes:
    """Return `chunk` as the bytes of a CODES chunk. Raises ValueError if `header` does not allow it.

    `begun` is a coding of its first frames, if the prior has processed some of them already.
    """
    problem = _problem(chunk, header)
    if problem:
        raise ArgumentError(problem)
    entropy, payload = _payload(chunk, header, begun)
    ks = bytes(chunk.n_codebooks)
    fields = fast_fields.Codes(chunk.first_frame, chunk.n_frames, entropy, ks, chunk.scale, payload)
    body = fast_fields.build_codes(fields, header.n_streams)
    return build_chunk(Kind.CODES, HAS_SCALE if chunk.scale is not None else 0, sequence, body)


def _payload(chunk: Chunk, header: Header, begun: Coding | None) -> tuple[Entropy, bytes]:
    """Return the codes as bytes and how they are coded: with the header's prior if that is smaller, else raw."""
    raw = pack_codes(chunk.codes.T.ravel(), header.bits)
    if header.entropy is Entropy.RAW or not 0 < chunk.codes.size <= MAX_PRIOR_CODES:
        return Entropy.RAW, raw
    coding = begun or load_prior(header).coding(chunk.n_codebooks)
    coding.push(chunk.codes[:, coding.n_frames :])
    coded = coding.payload()
    return (Entropy.PRIOR, coded) if len(coded) < len(raw) else (Entropy.RAW, raw)


def decode_codes(envelope: Envelope, header: Header) -> Chunk:
    """Decode the envelope of a CODES chunk; raises FormatError."""
    (chunk,) = decode_parts(envelope, header, MAX_CHUNK_CODES)
    return chunk


def decode_parts(envelope: Envelope, header: Header, n_first: int) -> Iterator[Chunk]:
    """Decode like decode_codes, but yield a chunk of at least 2 * `n_first` frames in two parts.

    The first part has `n_first` frames and is yielded before the rest is decoded.
    """
    fields = _parse_codes(envelope, header)
    ks, frame = tuple(fields.n_codebooks), fields.first_frame
    n_first = n_first if fields.n_frames >= 2 * n_first else fields.n_frames
    try:
        for codes in _parts(fields, header, n_first):
            chunk = Chunk(frame, codes, ks, fields.scale)
            if problem := _problem(chunk, header):
                raise ArgumentError(problem)
            frame += chunk.n_frames
            yield chunk
    except ValueError as error:
        raise Corrupt(envelope.offset, f"chunk {envelope.sequence}: {error}") from None


def _parts(fields: Any, header: Header, n_first: int) -> Iterator[NDArray[np.uint16]]:
    """Yield the codes [R, t] of a chunk's first `n_first` frames, then those of the frames after them, if any."""
    n_rows, n_frames = sum(fields.n_codebooks), fields.n_frames
    if fields.entropy == Entropy.PRIOR and len(fields.n_codebooks) == 1:
        yield from load_prior(header).decode_parts(fields.payload, tuple(fields.n_codebooks), n_frames, n_first)
        return
    if fields.entropy == Entropy.PRIOR:
        codes = np.concatenate(load_prior(header).decode(fields.payload, tuple(fields.n_codebooks), n_frames))
    else:
        codes = unpack_codes(fields.payload, n_rows * n_frames, header.bits).reshape(n_frames, n_rows).T
    yield codes[:, :n_first]
    if n_first < n_frames:
        yield codes[:, n_first:]


def decode_without_codes(envelope: Envelope, header: Header) -> Chunk:
    """Return the same Chunk as `decode_codes`, but with codes [0, T]. No prior is needed."""
    fields = _parse_codes(envelope, header)
    problem = codebooks_problem(tuple(fields.n_codebooks), header)
    if problem:
        raise Corrupt(envelope.offset, f"chunk {envelope.sequence}: {problem}")
    return Chunk(fields.first_frame, np.empty((0, fields.n_frames), np.uint16), tuple(fields.n_codebooks), fields.scale)


def _parse_codes(envelope: Envelope, header: Header) -> Any:
    """Parse the fields of a CODES chunk; the payload stays coded."""
    if envelope.flags & ~HAS_SCALE:
        raise UnsupportedVersion(envelope.offset, f"chunk {envelope.sequence} has unknown flags {envelope.flags:#04x}")
    has_scale = bool(envelope.flags & HAS_SCALE)
    fields = fast_fields.parse_codes(envelope.body, envelope.body_offset, header.n_streams, has_scale)
    if sum(fields.n_codebooks) * fields.n_frames > MAX_CHUNK_CODES:
        raise OverLimit(envelope.body_offset, f"a chunk holds at most {MAX_CHUNK_CODES} codes")
    if fields.entropy not in (Entropy.RAW, header.entropy):
        raise Corrupt(envelope.offset, f"chunk {envelope.sequence} is coded with a prior, but the header names none")
    return fields


def codes_checksum(codes: NDArray[np.uint16], checksum: int = 0) -> int:
    """Continue `checksum`, the CRC-32C of all codes of a stream: time-major, each as two bytes, least significant first."""
    return crc32c(np.ascontiguousarray(codes.T, "<u2").tobytes(), checksum)


def codebooks_problem(ks: tuple[int, ...], header: Header) -> str | None:
    """Return what `header` does not allow in the K of each stream, or None."""
    if len(ks) == header.n_streams and all(0 <= k <= header.max_codebooks for k in ks):
        return None
    return f"K must be 0 to {header.max_codebooks} for each of {header.n_streams} streams, got {ks}"


def _problem(chunk: Chunk, header: Header) -> str | None:
    """Return what `header` does not allow in a chunk, or None."""
    codes, ks = chunk.codes, chunk.n_codebooks
    problem = codebooks_problem(ks, header)
    if problem:
        return problem
    if codes.ndim != 2 or len(codes) != sum(ks):
        return f"codes must be [{sum(ks)}, T] for K = {ks}, got {codes.shape}"
    if codes.size > MAX_CHUNK_CODES:
        return f"a chunk holds at most {MAX_CHUNK_CODES} codes, got {codes.size}"
    if codes.size and int(codes.max()) >= header.codebook_size:
        return f"codes must be below {header.codebook_size}, got {int(codes.max())}"
    if header.segment_length and chunk.n_frames > header.segment_frames:
        return f"a segment has at most {header.segment_frames} frames, got {chunk.n_frames}"
    if chunk.scale is not None and not header.segment_length:
        return "only a segment has a scale"
    return None
