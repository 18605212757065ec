"""The chunks that a part of a stream needs. Editing and decoding cut streams with these functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from .chunk import Chunk
from .reader import Reader
from .timing import ceil_div


def decodable_samples(reader: Reader) -> int:
    """Return N at the codec's rate as the stream says, or of the complete chunks if it was cut off.

    Raises io.UnsupportedOperation on a pipe before its end.
    """
    if reader.n_samples is not None:
        return reader.n_samples
    return max(0, reader.index.n_decodable(reader.header) - reader.header.pre_skip)


def chunks_within(reader: Reader, start: int, stop: int | None) -> Iterator[Chunk]:
    """Yield the frames [start, stop) as chunks, with the first and last chunk cut to fit; a stop of None means the end."""
    for chunk in reader.chunks(start, stop):
        skip = max(start - chunk.first_frame, 0)
        codes = chunk.codes[:, skip : None if stop is None else stop - chunk.first_frame]
        yield dataclasses.replace(chunk, first_frame=chunk.first_frame + skip, codes=codes)


def segments_within(reader: Reader, first: int, last: int | None) -> tuple[int, int, int | None]:
    """Find the segments that the samples [first, last) of a segmented file need, including those that overlap the first one.

    Returns the number of the first segment, its first frame, and the frame at which the last one stops (None: the end).
    """
    header = reader.header
    starts = np.unique(reader.index.frames)[:-1]  # segment i starts at sample i * stride
    segment = max(0, min(first // header.segment_stride, len(starts) - 1) - overlapping_segments(reader))
    after = len(starts) if last is None else ceil_div(last, header.segment_stride)
    return segment, int(starts[segment]), int(starts[after]) if after < len(starts) else None


def overlapping_segments(reader: Reader) -> int:
    """Return how many earlier segments can overlap the start of a segment."""
    return ceil_div(reader.header.segment_length, reader.header.segment_stride)
