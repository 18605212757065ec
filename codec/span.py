"""Decode a span of a file: only the necessary chunks are read, and the samples equal those of a full decode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np

from ..format import Header, Reader
from ..format.errors import ArgumentError
from ..format.parts import segments_within
from ..format.timing import ceil_div
from .protocols import Model

RESAMPLER_TAPS = 1024  # more samples of the lower rate than a resampler uses on each side


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a stream that gives the samples [start, stop) of its decoded audio, in samples.

    `first` and `last` bound the resampler's input at the codec's rate; `skip` is the number of its
    output samples before `start`.
    """

    start: int  # at the output's rate
    stop: int
    first: int  # at the codec's rate
    last: int
    skip: int  # at the output's rate

    @classmethod
    def of(cls, start: Fraction, duration: Fraction | None, n_out: int, n_samples: int, rates: tuple[int, int]) -> Span:
        """Create a span from seconds. `n_out` and `n_samples` are the whole stream's lengths, rates (codec, output) in Hz.

        Raises ValueError if the stream has no such span.
        """
        from_rate, to_rate = rates
        begin = round(start * to_rate)
        end = n_out if duration is None else min(n_out, round((start + duration) * to_rate))
        if duration is not None and duration <= 0:
            raise ArgumentError(f"the duration must be above 0, got {float(duration):g} s")
        if not 0 <= begin < end:
            raise ArgumentError(f"the audio lasts {n_out / to_rate:.3f} s: there is nothing to decode at {float(start):.3f} s")
        if from_rate == to_rate:
            return cls(begin, end, begin, min(end, n_samples), 0)
        # Start where samples of both rates coincide, and early enough that the resampler's start has no effect.
        step = from_rate // gcd(from_rate, to_rate)
        context = ceil_div(RESAMPLER_TAPS * from_rate, min(rates))
        first = max(0, begin * from_rate // to_rate - context) // step * step
        last = min(n_samples, ceil_div(end * from_rate, to_rate) + context)
        return cls(begin, end, first, last, begin - first * to_rate // from_rate)


def frames_of_span(span: Span, codec: Model, reader: Reader) -> tuple[int, int | None, int]:
    """Return the frames to decode for a span: first, last + 1 (None: to the end), and how many samples to drop before it."""
    header = reader.header
    first, last = span.first + header.pre_skip, span.last + header.pre_skip
    if header.segment_length:
        segment, start, stop = segments_within(reader, first, last)
        return start, stop, first - segment * header.segment_stride
    frame = max(0, first // header.hop_length - codec.reach[0])
    # The decoder holds back samples that the next frames still change.
    return frame, _stop_frame(last, header, reader, codec), first - frame * header.hop_length


def _stop_frame(last: int, header: Header, reader: Reader, codec: Model) -> int | None:
    stop = ceil_div(last, header.hop_length) + codec.reach[1]
    return None if stop >= reader.index.n_frames else stop


def clip_samples(blocks: Iterator[np.ndarray], skip: int, n_samples: int) -> Iterator[np.ndarray]:
    """Drop the first `skip` samples of blocks [C, n], and everything after `n_samples` more."""
    for block in blocks:
        block, skip = block[:, skip:], max(0, skip - block.shape[1])
        yield block[:, :n_samples]
        n_samples -= min(n_samples, block.shape[1])
        if n_samples == 0:
            return
