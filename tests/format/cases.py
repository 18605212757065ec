"""Headers, codes and file objects that the tests of this folder share."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from ecdc.format.chunk import CRC_SIZE, HEAD_SIZE
from ecdc.format.crc import crc32c_ref
from ecdc.format.header import Header
from ecdc.format.reader import Reader
from ecdc.format.schema import CHUNK, CRC, PREFIX, ChannelCoding, Provenance
from ecdc.format.writer import Writer
from hypothesis import strategies as st

BASE = Header(
    codec="nano-24k",
    token_space=bytes(range(32)),
    sample_rate=24_000,
    hop_length=320,
    codebook_size=1024,
    max_codebooks=16,
    original_sample_rate=44_100,
)


def make_header(**changes: Any) -> Header:
    return dataclasses.replace(BASE, **changes)


def make_codes(n_rows: int, n_frames: int, codebook_size: int = 1024, seed: int = 0) -> np.ndarray:
    """[R, T], without a pattern that packing could hide behind."""
    return np.random.default_rng(seed).integers(0, codebook_size, (n_rows, n_frames))


def write(header: Header, codes: np.ndarray, chunk_frames: int | None = None, **lengths: int) -> bytes:
    stream = io.BytesIO()
    with Writer(stream, header, chunk_frames) as writer:
        writer.append(codes)
        writer.close(**lengths)
    return stream.getvalue()


class Pipe:
    """Bytes that can only be read forwards, and come a few at a time."""

    def __init__(self, data: bytes, at_most: int = 1 << 30) -> None:
        self._inner = io.BytesIO(data)
        self._at_most = at_most

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, self._at_most) if size >= 0 else self._at_most)


def read_all(fileobj: Any) -> list[np.ndarray]:
    """The codes of every chunk, with everything checked that can be."""
    return [chunk.codes for chunk in Reader(fileobj)]


def pieces(data: bytes) -> list[bytes]:
    """Cut a whole stream into its header and its chunks."""
    cut = [data[: PREFIX.parse(data).header_size]]
    rest = data[len(cut[0]) :]
    while rest:
        size = HEAD_SIZE + CHUNK.parse(rest).body_size + CRC_SIZE
        cut.append(rest[:size])
        rest = rest[size:]
    return cut


def sealed(piece: bytes) -> bytes:
    """A header or a chunk with its CRC made right again."""
    return piece[:-CRC_SIZE] + CRC.build(crc32c_ref(piece[:-CRC_SIZE]))


lengths = st.none() | st.integers(0, 2**48)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
tags = st.lists(st.tuples(names.filter(lambda key: "=" not in key), st.text(max_size=40)), max_size=4).map(tuple)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Any header, all fields at once."""
    coding = draw(st.sampled_from(ChannelCoding))
    rate, original_rate = draw(st.integers(1, 2**24)), draw(st.integers(1, 2**24))
    hop = draw(st.integers(1, 2**24))
    n_samples = draw(lengths)
    most = None if n_samples is None else min(-(-n_samples * original_rate // rate), 2**48)
    segment_length = draw(st.just(0) | st.integers(1, min(2**24, 65_535 * hop)))
    return Header(
        codec=draw(names),
        token_space=draw(st.binary(min_size=32, max_size=32)),
        sample_rate=rate,
        hop_length=hop,
        codebook_size=draw(st.integers(2, 65_536)),
        max_codebooks=draw(st.integers(1, 255)),
        original_sample_rate=original_rate,
        channels=draw(st.integers(1, 255)) if coding is ChannelCoding.JOINT else 1 + (coding is not ChannelCoding.MONO),
        channel_coding=coding,
        segment_length=segment_length,
        segment_stride=draw(st.integers(1, segment_length)) if segment_length else 0,
        pre_skip=draw(st.integers(0, 2**32 - 1)),
        output_gain=draw(st.integers(-(2**15), 2**15 - 1)),
        provenance=draw(st.sampled_from(Provenance)),
        n_samples=n_samples,
        original_n_samples=n_samples
        if rate == original_rate
        else draw(lengths if most is None else st.none() | st.integers(0, most)),
        tags=draw(tags),
    )
