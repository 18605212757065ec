"""The usual case of the two structures that every chunk has: the bytes of CHUNK and CODES (schema.py), read without construct.

construct takes twenty times as long, which is felt in files of many short chunks. It remains the definition: whatever is not
usual here is left to it, faults too.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from .schema import CHUNK, CODES, MAX_CHUNK_FRAMES, MAX_LENGTH, SYNC, Entropy, parse

HEAD = struct.Struct("<4sBBII")  # CHUNK
START = struct.Struct("<QHB")  # CODES before the number of codebooks of each stream
ENTROPIES = {int(kind): kind for kind in Entropy}


class Head(NamedTuple):
    """The fields of CHUNK."""

    kind: int
    flags: int
    sequence: int
    body_size: int


class Codes(NamedTuple):
    """The fields of CODES."""

    first_frame: int
    n_frames: int
    entropy: Entropy
    n_codebooks: bytes
    scale: float | None
    payload: bytes


def parse_head(data: bytes) -> Any:
    """Return the fields of CHUNK from its bytes; raises what construct raises."""
    if len(data) == HEAD.size and data[: len(SYNC)] == SYNC:
        return Head._make(HEAD.unpack(data)[1:])
    return CHUNK.parse(data)


def build_head(kind: int, flags: int, sequence: int, body_size: int) -> bytes:
    """Return the bytes of CHUNK; raises what construct raises."""
    try:
        return HEAD.pack(SYNC, kind, flags, sequence, body_size)
    except struct.error:
        fields = {"kind": kind, "flags": flags, "sequence": sequence, "body_size": body_size}
        return bytes(CHUNK.build(fields))


def parse_codes(body: bytes, offset: int, n_streams: int, has_scale: bool) -> Any:
    """Return the fields of CODES from its bytes, which begin at byte `offset` of the stream; raises FormatError."""
    at = START.size + n_streams
    if not has_scale and len(body) >= at:
        first_frame, n_frames, entropy = START.unpack_from(body)
        if first_frame <= MAX_LENGTH and n_frames and entropy in ENTROPIES:
            return Codes(first_frame, n_frames, ENTROPIES[entropy], bytes(body[START.size : at]), None, bytes(body[at:]))
    return parse(CODES, body, offset, n_streams=n_streams, has_scale=has_scale)


def build_codes(fields: Codes, n_streams: int) -> bytes:
    """Return the bytes of CODES; raises FieldError, or what construct raises."""
    first_frame, n_frames, entropy, n_codebooks, scale, payload = fields
    usual = scale is None and 0 <= first_frame <= MAX_LENGTH and 1 <= n_frames <= MAX_CHUNK_FRAMES
    if usual and entropy in ENTROPIES and len(n_codebooks) == n_streams:
        return START.pack(first_frame, n_frames, entropy) + n_codebooks + payload
    return bytes(CODES.build(fields._asdict(), n_streams=n_streams, has_scale=scale is not None))
