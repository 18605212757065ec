"""How many bytes a stream takes, for programs that plan its bitrate."""

from __future__ import annotations

import dataclasses

import numpy as np

from .chunk import Chunk, encode_codes
from .entropy.rangecoder import STATE_BYTES
from .header import Header
from .schema import INDEX_ENTRY, Entropy
from .trailer import Index, Trailer


def empty_stream_bytes(header: Header) -> int:
    """Return the bytes of a stream without chunks: its header and its END chunk."""
    return len(header.to_bytes()) + len(Trailer(0, 0, 0, Index.of(0, [], [])).to_bytes())


def chunk_bytes(chunk: Chunk, header: Header) -> int:
    """Return the bytes that a chunk adds to a stream, including its index entry. The codes are coded to find this."""
    return len(encode_codes(chunk, header, 0)) + INDEX_ENTRY.itemsize


def chunk_overhead_bytes(header: Header) -> int:
    """Return the bytes that a chunk adds to a stream besides its codes."""
    n_streams = header.n_streams
    chunk = Chunk(0, np.zeros((n_streams, 8), np.uint16), (1,) * n_streams)
    raw = dataclasses.replace(header, entropy=Entropy.RAW, prior=b"")
    code_bytes = n_streams * header.bits  # of eight frames
    return chunk_bytes(chunk, raw) - code_bytes + (STATE_BYTES if header.entropy else 0)
