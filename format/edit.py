"""Edit streams without a model: drop codebooks, cut out a part, join streams, change tags.

Every function reads forwards and holds one chunk at a time, so input and output may be pipes.
In a file, `cut` seeks directly to the part. Damaged or truncated input raises the errors of Reader,
and the output then has no END chunk.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from math import isfinite
from typing import BinaryIO

import numpy as np

from .chunk import Chunk
from .entropy.installed_priors import load_prior
from .errors import ArgumentError, EcdcError, MissingPrior, Truncated
from .header import Header
from .parts import chunks_within, decodable_samples, overlapping_segments, segments_within
from .reader import Reader
from .schema import Entropy
from .streams import share_like
from .timing import ceil_div, nominal_kbps, resampled_length
from .writer import Writer

CONTEXT_SECONDS = 2  # kept before a cut, so that the decoder's state has settled at the first sample of the part


def codebooks_within(header: Header, kbps: float) -> int:
    """Return the number of codebooks of all streams together for a nominal bitrate in kbps.

    Raises ValueError, with the lowest possible bitrate, if `kbps` is too low.
    """
    each = nominal_kbps(header.frame_rate, 1, header.bits)
    lowest = header.n_streams * each
    if not isfinite(kbps):
        raise ArgumentError(f"kbps must be a finite number, got {kbps}")
    if kbps + 1e-9 < lowest:
        raise ArgumentError(f"the lowest bitrate of this file is {float(lowest):g} kbps, got {kbps:g}")
    return int(Fraction(kbps + 1e-9) / each)


def peel(reader: Reader, output: BinaryIO, n_codebooks: Sequence[int]) -> Writer:
    """Keep the first `n_codebooks` of each stream.

    Of greedy codes (effort 0), the result equals encoding with that many, byte for byte.
    Raises MissingPrior, before anything is written, if the codes need an entropy prior that is not installed.
    """
    if len(n_codebooks) != reader.header.n_streams or min(n_codebooks) < 1:
        raise ArgumentError(f"give 1 or more codebooks for each of {reader.header.n_streams} streams, got {tuple(n_codebooks)}")
    return _peel(reader, output, lambda have: tuple(n_codebooks))


def peel_to(reader: Reader, output: BinaryIO, kbps: float) -> Writer:
    """Keep the first codebooks of each stream, for a nominal bitrate in kbps.

    Codebooks are divided among the streams as the encoder divided them. Of greedy codes (effort 0), the result equals encoding
    at that bitrate. Raises ValueError for a bitrate that is too low, and what `peel` raises.
    """
    header = reader.header
    total = codebooks_within(header, kbps)
    return _peel(reader, output, lambda have: share_like(have, total, header.channel_coding, header.max_codebooks))


def _peel(reader: Reader, output: BinaryIO, wanted_for: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Writer:
    """Keep the first codebooks of each chunk; `wanted_for` receives the K of its streams, and returns how many to keep."""
    if reader.header.entropy is Entropy.PRIOR:
        _need_prior(reader.header)

    def peeled(chunk: Chunk) -> Chunk:
        wanted = wanted_for(chunk.n_codebooks)
        ks = tuple(map(min, chunk.n_codebooks, wanted))
        codes = np.concatenate([rows[:k] for rows, k in zip(chunk.streams(), ks, strict=True)])
        return dataclasses.replace(chunk, codes=codes, n_codebooks=ks)

    return _copy(reader, output, reader.header, map(peeled, reader))


def _need_prior(header: Header) -> None:
    try:
        load_prior(header)
    except MissingPrior as error:
        text = f"a chunk's entropy-coded codebooks are one number and cannot be dropped unread: {error.message}"
        raise MissingPrior(error.offset, text, error.wanted) from None


def retag(reader: Reader, output: BinaryIO, tags: Sequence[tuple[str, str]]) -> Writer:
    """Copy the stream with its tags replaced by `tags`."""
    return _copy(reader, output, dataclasses.replace(reader.header, tags=tuple(tags)), reader)


def cut(reader: Reader, output: BinaryIO, start: Fraction, duration: Fraction | None = None) -> Writer:
    """Write the part that begins at `start` seconds and lasts `duration` seconds, or until the end.

    Codes are copied unchanged. The output begins some frames before `start`, so that the decoder can
    settle; its pre-skip tells the decoder to drop them. `start` is rounded to a sample of the codec.
    Little is read after the part. Raises ValueError if the stream has no such part, and Truncated if the part reaches beyond
    the complete chunks of a file that was cut off; on a pipe this may become known only at its end, when the output already
    has a header, but no END chunk.
    """
    header = reader.header
    if duration is not None and duration <= 0:
        raise ArgumentError(f"the duration must be above 0, got {float(duration):g} s")
    n_samples = reader.n_samples if reader.n_frames is None else decodable_samples(reader)
    first = round(start * header.sample_rate)
    last = None if duration is None else round((start + duration) * header.sample_rate)
    if n_samples is not None and reader.n_samples is None and (last is None or last > n_samples):
        here = n_samples / header.sample_rate
        raise Truncated(int(reader.index.offsets[-1]), f"the file was cut off; only its first {here:.3f} s are here")
    _check_part(header, n_samples, first, last)
    if n_samples is not None:
        last = n_samples if last is None else min(n_samples, last)
    origin, chunks = _part(reader, first + header.pre_skip, None if last is None else last + header.pre_skip)
    length = None if n_samples is None or last is None else last - first
    original = None if length is None else resampled_length(length, header.sample_rate, header.original_sample_rate)
    pre_skip = first + header.pre_skip - origin
    cut_header = dataclasses.replace(header, pre_skip=pre_skip, n_samples=length, original_n_samples=original)
    with Writer(output, cut_header) as writer:
        _append(writer, chunks)
        if length is None:  # the input is a pipe
            _check_part(header, reader.n_samples, first, last)
            ends = [end for end in (last, reader.n_samples) if end is not None]  # never empty: it read to `last` or END
            length = min(ends) - first
        writer.close(length)
    return writer


def cat(readers: Sequence[Reader], output: BinaryIO) -> Writer:
    """Join all streams in order, under the header of the first.

    Only whole frames can be dropped, so each joint keeps the padding of the last frame before it, and samples before the
    start of the next part (pre-skip), each less than one frame. Raises WrongModel, with both hashes, if the token spaces
    differ, and ValueError if rates, channels or segments differ; `part` of an error is the number of the stream at fault.
    """
    header = readers[0].header
    if header.segment_length and len(readers) > 1:
        raise ArgumentError("segmented streams overlap within themselves and cannot be joined")
    for i, reader in enumerate(readers):
        with _numbered(i):
            _check_alike(header, reader.header)
    merged = dataclasses.replace(header, n_samples=None, original_n_samples=None)
    missing = 0  # samples of the last frame that are padding
    with Writer(output, merged) as writer:
        for i, reader in enumerate(readers):
            skip, hop, known = reader.header.pre_skip, header.hop_length, reader.n_samples
            stop = None if known is None else ceil_div(skip + known, hop)
            with _numbered(i):
                for chunk in _from_frame(reader, skip // hop if i else 0, stop):
                    writer.append_chunk(chunk)
            n_frames = reader.n_frames if stop is None else stop
            assert n_frames is not None and reader.n_samples is not None  # both are known after the last chunk
            missing = n_frames * hop - skip - reader.n_samples
        writer.close(max(0, writer.n_frames * header.hop_length - header.pre_skip - missing))
    return writer


@contextlib.contextmanager
def _numbered(part: int) -> Iterator[None]:
    """Note in errors which of several inputs is at fault."""
    try:
        yield
    except EcdcError as error:
        error.part = part
        raise


def _check_alike(one: Header, other: Header) -> None:
    other.require(one.codec, one.token_space)
    fields = ("sample_rate", "original_sample_rate", "hop_length", "codebook_size", "channels", "channel_coding")
    for name in (*fields, "segment_length"):
        if getattr(one, name) != getattr(other, name):
            raise ArgumentError(f"differs from the first file in {name}: {getattr(other, name)}, not {getattr(one, name)}")


def _check_part(header: Header, n_samples: int | None, first: int, last: int | None) -> None:
    """Raise ValueError unless a stream of `n_samples` (None: unknown) has samples in [first, last)."""
    ends = [end for end in (n_samples, last) if end is not None]
    if first < 0 or any(end <= first for end in ends):
        lasts = "" if n_samples is None else f"the audio lasts {n_samples / header.sample_rate:.3f} s: "
        raise ArgumentError(f"{lasts}there is no audio at {first / header.sample_rate:.3f} s")


def _part(reader: Reader, first: int, last: int | None) -> tuple[int, Iterable[Chunk]]:
    """Return the chunks needed to decode the samples [first, last), and the sample at which they begin. None: to the end."""
    header, n_frames = reader.header, reader.n_frames  # n_frames is None on a pipe
    if not header.segment_length:
        frame = max(0, first - CONTEXT_SECONDS * header.sample_rate) // header.hop_length
        # One frame more, because a decoder's windows overlap.
        stop = None if last is None else ceil_div(last, header.hop_length) + 1
        if stop is not None and n_frames is not None and stop >= n_frames:
            stop = None
        return frame * header.hop_length, _from_frame(reader, frame, stop)
    if n_frames is None:
        segment = max(0, first // header.segment_stride - overlapping_segments(reader))
        after = None if last is None else ceil_div(last, header.segment_stride)
        return segment * header.segment_stride, _chunks_between(reader, segment, after)
    segment, start, stop = segments_within(reader, first, last)
    return segment * header.segment_stride, _from_frame(reader, start, stop)


def _from_frame(reader: Reader, start: int, stop: int | None) -> Iterable[Chunk]:
    """Yield the frames [start, stop) as chunks whose frame numbers count from `start`."""
    for chunk in chunks_within(reader, start, stop):
        yield dataclasses.replace(chunk, first_frame=chunk.first_frame - start)


def _chunks_between(reader: Reader, start: int, stop: int | None) -> Iterable[Chunk]:
    """Yield the chunks numbered [start, stop), each one segment.

    One more chunk is read: if it is the END chunk, the length of the stream becomes known.
    """
    for i, chunk in enumerate(reader):
        if i == stop:
            return
        if i >= start:
            yield chunk


def _copy(source: Reader, output: BinaryIO, header: Header, chunks: Iterable[Chunk]) -> Writer:
    """Write `chunks` under `header`, with the lengths of `source`."""
    with Writer(output, header) as writer:
        _append(writer, chunks)
        writer.close(source.n_samples, source.original_n_samples)
    return writer


def _append(writer: Writer, chunks: Iterable[Chunk]) -> None:
    for chunk in chunks:
        writer.append_chunk(chunk)
