"""Decode a container to audio, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..format import Chunk, Header, Reader, read_v0
from ..format.arguments import described, finite_number, whole_number
from ..format.bytestream import look_ahead
from ..format.errors import ArgumentError
from ..format.files import input_stream, refuse_to_replace, seekable
from ..format.header import major_version
from ..format.parts import chunks_within, decodable_samples
from ..format.salvage import Salvage
from ..format.timing import resampled_length
from .audio_out import Output, write_audio
from .channel_layout import Layout, starts_of_streams
from .exact_length import length_at, resample_to_length, trim_to_length
from .limits import MAX_SECONDS, check_seconds, limit_duration
from .live import Coded, coded_blocks, first_frames, warm_up
from .pipeline_parts import BLOCK_FRAMES, Result, to_array
from .prepare import Progress
from .protocols import Model
from .runtime import codec_of, shared_bundled, with_decoder
from .segments import segment_of
from .silence import Silencer
from .span import Span, clip_samples, frames_of_span


def decode_blocks(
    codec: Model, reader: Reader, span: Span | None = None, salvage: Salvage | None = None
) -> Iterator[np.ndarray]:
    """Decode a stream to blocks [C, n] at the codec's rate, cut to its exact length or to a span.

    Raises FormatError if the stream has another token space, or if it is damaged and read without
    `salvage`.
    """
    header = reader.header
    header.require(codec.config.name, codec.token_space)
    layout = Layout(header.channel_coding, header.channels)
    gain = np.float32(10 ** (header.output_gain / 5120))
    start, stop, skip = frames_of_span(span, codec, reader) if span else (0, None, header.pre_skip)
    chunks = salvage or chunks_within(reader, start, stop)
    if header.segment_length:
        blocks = _decode_segments(codec, chunks)
    else:
        is_file = span is not None or salvage is not None or reader.n_frames is not None
        rate = float(header.frame_rate)
        coded = coded_blocks(chunks if is_file else reader.parts(first_frames(rate)), rate, BLOCK_FRAMES, join=is_file)
        blocks = _decode_stream(codec, coded, header.n_streams, start)

    def length() -> int | None:
        if salvage:
            return salvage.n_samples
        return span.last - span.first if span else reader.n_samples

    for block in trim_to_length((layout.join(b) for b in blocks), skip, header.hop_length, length):
        yield block * gain


def _decode_stream(codec: Model, blocks: Iterable[Coded], n_streams: int, start: int) -> Iterator[np.ndarray]:
    """Decode the streams of an unsegmented file to blocks [S, c, n], starting at frame `start`."""
    with contextlib.ExitStack() as stack:
        firsts = starts_of_streams(codec.config, n_streams, start)
        streams = [stack.enter_context(codec.streaming(first_frame=first)) for first in firsts]
        silencers = [Silencer(codec.config.hop_length) for _ in streams]
        for codebooks, codes, last in blocks:
            rows = np.split(codes.astype(np.int64), np.cumsum(codebooks)[:-1])
            wavs = [to_array(s.decode(k_rows[None], last=last)[0]) for s, k_rows in zip(streams, rows, strict=True)]
            for silencer, k in zip(silencers, codebooks, strict=True):
                silencer.tell(k, codes.shape[1])
            yield np.stack([silencer(wav) for silencer, wav in zip(silencers, wavs, strict=True)])


def _decode_segments(codec: Any, chunks: Iterable[Chunk]) -> Iterator[np.ndarray]:
    """Decode a file of overlapping segments to blocks [1, c, n]."""
    for wav in codec.decode_segment_blocks(segment_of(c.codes, c.scale) for c in chunks):
        yield to_array(wav)


def decode_file(
    source: str | os.PathLike[str], target: str | os.PathLike[str] | Output, model: Model | str | None = None, *,
    sample_rate: int | None = None, format: str | None = None, progress: Progress = lambda seconds: None,
    start: Fraction = Fraction(0), duration: Fraction | None = None, lost: list[str] | None = None,
    decoder: str | Callable[[Model], Model] = "conv", max_seconds: float | None = MAX_SECONDS,
    bundled: Callable[[str], Model] = shared_bundled,
) -> Result:  # fmt: skip
    """Decode an `.ecdc` file into audio; '-' is standard input or output, and an Output has more settings.

    `model` is the codec to decode with, or what `ecdc.load` takes (default: `bundled` is called with
    the name in the file). `sample_rate` is the output rate in Hz (default: the original's, or the
    next one that the format supports). `format` is the output format if the suffix does not give it.
    `start` and `duration` select a span in seconds: only the necessary part is read, and its samples
    equal those of a full decode. An existing target is replaced. `decoder` is "conv", "mbd", a decoder file, or a function that
    replaces the codec's decoder. If `lost` is a list, damage is not an error: lost parts are silent,
    and a line about each is appended there and to the result. Files of the original EnCodec
    (version 0) are read too. Audio longer than `max_seconds` is refused, unless that is None.
    Raises FormatError, CheckpointError, AudioError, ValueError or OSError with one line that says
    what is wrong; the target then does not exist, or is unchanged.
    """
    (output := target if isinstance(target, Output) else Output(target, format)).check()
    start, duration, sample_rate = _checked(start, duration, sample_rate, max_seconds, lost)
    refuse_to_replace(source, output.target)

    def named_codec(name: str) -> Model:
        codec = bundled(name) if model is None else codec_of(model)
        return with_decoder(codec, decoder) if isinstance(decoder, str) else decoder(codec)

    with input_stream(source) as stream:
        start_bytes, stream = look_ahead(stream, 5)
        is_span = start != 0 or duration is not None
        if major_version(start_bytes) == 0:
            if is_span:
                raise ArgumentError("files of version 0 have no index: decode all of it, or convert the file first")
            return _decode_v0(stream, output, named_codec, sample_rate, max_seconds)
        reader = Reader(seekable(stream) if is_span else stream)
        output = _with_tags(output, reader.header)
        job = _Job(reader, output, named_codec, sample_rate, max_seconds, progress)
        result = job.span(start, duration) if is_span else job.whole(lost)
    return dataclasses.replace(result, lost=tuple(lost or ()))


def _checked(
    start: Any, duration: Any, sample_rate: Any, max_seconds: Any, lost: Any
) -> tuple[Fraction, Fraction | None, int | None]:
    """Return start, duration and rate as `decode_file` needs them. Raises ArgumentError for what it does not take."""
    start = finite_number("start", start)
    duration = None if duration is None else finite_number("duration", duration)
    if sample_rate is not None:
        sample_rate = whole_number("sample_rate", sample_rate, 1)
    if max_seconds is not None:
        finite_number("max_seconds", max_seconds)
    if not isinstance(lost, list | None):
        raise ArgumentError(f"lost must be a list, got {described(lost)}")
    if lost is not None and (start or duration is not None):
        raise ArgumentError("damage is passed over only in whole files: leave out start and duration, or repair the file first")
    return start, duration, sample_rate


@dataclass(frozen=True, slots=True)
class _Job:
    """One stream to decode, and its output. The fields are the arguments of `decode_file`."""

    reader: Reader
    output: Output
    codec_of: Callable[[str], Model]
    sample_rate: int | None
    max_seconds: float | None
    progress: Progress

    def whole(self, lost: list[str] | None) -> Result:
        """Decode everything."""
        reader, header = self.reader, self.reader.header
        check_seconds(float((reader.n_frames or 0) / header.frame_rate), self.max_seconds)
        codec, rate = self._ready()
        salvage = None if lost is None else Salvage(reader)
        known = salvage or reader

        def length() -> int | None:
            return length_at(rate, header, known.n_samples, known.original_n_samples)

        blocks = decode_blocks(codec, reader, salvage=salvage)
        decoded = limit_duration(_saved(blocks, salvage), header.sample_rate, self.max_seconds)
        result = self._written(resample_to_length(decoded, header.sample_rate, rate, length), rate, length())
        if lost is not None and salvage:
            lost += [item.describe(header) for item in salvage.lost]
        return result

    def span(self, start: Fraction, duration: Fraction | None) -> Result:
        """Decode a span given in seconds, reading only the necessary part."""
        codec, rate = self._ready()
        blocks, n_wanted = _decode_span(codec, self.reader, rate, start, duration)
        check_seconds(n_wanted / rate, self.max_seconds)
        return self._written(blocks, rate, n_wanted)

    def _ready(self) -> tuple[Model, int]:
        """Return the codec, and the output rate in Hz."""
        reader, header = self.reader, self.reader.header
        codec = self.codec_of(header.codec)
        if prepare := getattr(codec, "prepare_decoding", None):  # of the light runtime
            prepare()
        rate = self.output.legal_rate(self.sample_rate or header.original_sample_rate)
        if reader.n_frames is None and not header.segment_length:
            header.require(codec.config.name, codec.token_space)
            warm_up(codec, header, (min(header.max_codebooks, codec.config.n_codebooks),) * header.n_streams, None)
        return codec, rate

    def _written(self, blocks: Iterable[np.ndarray], rate: int, n_samples: int | None) -> Result:
        channels = self.reader.header.channels
        n_written = write_audio(blocks, self.output, rate, channels, n_samples, self.progress)
        return Result(n_written / rate, self.reader.n_bytes, channels, rate)


def _saved(blocks: Iterator[np.ndarray], salvage: Salvage | None) -> Iterator[np.ndarray]:
    """Yield blocks; then raise FormatError if `salvage` found no intact chunk, before the output is complete."""
    yield from blocks
    if salvage is not None:
        salvage.check_saved()


def _with_tags(output: Output, header: Header) -> Output:
    """Return an output that writes the stream's tags into its file when the file is complete."""
    if not header.tags or output.finish is not None:
        return output

    def finish(path: Path) -> None:
        from .tags import write_tags

        write_tags(path, output.check().name, header.tags)

    return dataclasses.replace(output, finish=finish)


def _decode_span(
    codec: Model, reader: Reader, rate: int, start: Fraction, duration: Fraction | None
) -> tuple[Iterator[np.ndarray], int]:
    """Return the audio blocks of a span at `rate`, and its length in samples."""
    header = reader.header
    n_samples = decodable_samples(reader)
    original = reader.original_n_samples
    if original is None:
        original = resampled_length(n_samples, header.sample_rate, header.original_sample_rate)
    n_out = length_at(rate, header, n_samples, original)
    assert n_out is not None  # because both lengths are known
    span = Span.of(start, duration, n_out, n_samples, (header.sample_rate, rate))
    n_wanted = span.stop - span.start
    blocks = resample_to_length(decode_blocks(codec, reader, span), header.sample_rate, rate, lambda: span.skip + n_wanted)
    return clip_samples(blocks, span.skip, n_wanted), n_wanted


def _decode_v0(
    stream: BinaryIO, output: Output, codec_of: Callable[[str], Any], sample_rate: int | None, max_seconds: float | None
) -> Result:
    """Decode a file of the original container, which names its model but has no hash to check."""
    file = read_v0(stream)
    check_seconds(file.n_samples / file.model.sample_rate, max_seconds)
    codec = codec_of(file.model_name)
    fits = (codec.config.sample_rate, codec.config.hop_length) == (file.model.sample_rate, file.model.hop_length)
    if not fits or not hasattr(codec, "decode_segments"):
        raise ArgumentError(f"the file needs {file.model_name}, got {codec.config.name}")
    segments = [segment_of(codes, scale) for codes, scale in file.segments]
    wav = to_array(codec.decode_segments(segments, file.n_samples)[0])
    rate = output.legal_rate(sample_rate or codec.sample_rate)
    n_wanted = resampled_length(file.n_samples, codec.sample_rate, rate)
    blocks = resample_to_length([wav], codec.sample_rate, rate, lambda: n_wanted)
    n_samples = write_audio(blocks, output, rate, wav.shape[0], n_wanted, lambda seconds: None)
    return Result(n_samples / rate, file.n_bytes, wav.shape[0], rate)
