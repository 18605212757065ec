"""The one join: audio -> model -> container, container -> model -> audio, in bounded memory.

Audio passes in blocks of a fixed number of frames, whatever the size of reads, so that a
pipe, a file and a whole signal meet the same arithmetic and give the same tokens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import torch

from ..format import Chunk, Entropy, Header, Reader, V0File, Writer, read_v0
from ..format.bytestream import look_ahead
from ..format.files import input_stream, output_stream, seekable
from ..format.header import major_version
from ..format.priors import prior_for
from ..format.salvage import Salvage
from ..format.timing import resampled_length
from .amount import MAX_SECONDS, bounded, check_seconds
from .audio import AudioError, AudioSource
from .audio_out import Output, write_audio
from .checkpoints import load_bundled
from .exact import length_at, restored, trimmed
from .live import Coded, Pace, coded_blocks, is_pipe, pace_for, paced_blocks, warm_up
from .model import Codec
from .prepare import Prepared, Progress, fixed_blocks
from .segments import Segment
from .silence import Silencer
from .span import Span, clipped, frames_of
from .stereo import Layout, codebooks_per_stream, layout_for
from .vbr import WINDOW_SECONDS, Allocator, Target, windows

BLOCK_FRAMES = 300  # per call of a model: 4 s at 75 frames a second


@dataclass(frozen=True, slots=True)
class Result:
    """What a file became."""

    seconds: float  # of audio
    n_bytes: int  # of the .ecdc side
    channels: int
    sample_rate: int  # Hz, of the audio side
    codebooks: tuple[int, ...] = ()  # K of each stream, where one holds throughout

    @property
    def kbps(self) -> float:
        """What the file really is: all its bytes over its duration."""
        return 8 * self.n_bytes / 1000 / self.seconds if self.seconds else 0.0


def seconds_of(source: str | os.PathLike[str]) -> float | None:
    """How long the audio in a regular file lasts, if its header says so; for progress bars."""
    if not os.path.isfile(source):  # a pipe can be read once
        return None
    try:
        with AudioSource(source) as audio:
            if audio.info.n_samples:
                return audio.info.n_samples / audio.info.sample_rate
    except AudioError:
        return None
    from .media import duration_of

    with open(source, "rb") as file:
        return duration_of(file)


def _tensor(array: np.ndarray, codec: Codec) -> torch.Tensor:
    """Convert to a tensor on the codec's device. Read-only arrays are copied, because tensors are always writable."""
    return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(codec.device)


def _scale(scale: float | None, codec: Codec) -> torch.Tensor | None:
    """A segment's scale as [1, 1]."""
    return None if scale is None else torch.tensor([[scale]], device=codec.device)


def header_for(
    codec: Codec, layout: Layout, source: AudioSource, tags: tuple[tuple[str, str], ...] = (), entropy: str = "auto"
) -> Header:
    """The container header of `source` coded by `codec`; lengths are left to the end of the stream.

    `entropy`: "auto" names a prior for the codes if there is one here, "none" does not.
    """
    config = codec.config
    prior = prior_for(codec.token_space) if entropy == "auto" else None
    return Header(
        codec=config.name,
        token_space=codec.token_space,
        sample_rate=config.sample_rate,
        original_sample_rate=source.info.sample_rate,
        hop_length=config.hop_length,
        codebook_size=config.codebook_size,
        max_codebooks=config.n_codebooks,
        channels=layout.channels,
        channel_coding=layout.coding,
        segment_length=config.segment_length or 0,
        segment_stride=config.segment_stride or 0,
        tags=tags,
        entropy=Entropy.PRIOR if prior else Entropy.RAW,
        prior=prior.hash if prior else b"",
    )


def encode_blocks(
    codec: Codec, blocks: Iterable[np.ndarray], layout: Layout, codebooks: tuple[int, ...], pace: Pace | None = None
) -> Iterator[np.ndarray]:
    """Audio blocks [C, n] at the codec's rate -> codes [R, t], the rows of each stream one after the other.

    `pace` says how much is coded at a time; None: BLOCK_FRAMES.
    """
    size = BLOCK_FRAMES * codec.config.hop_length
    cut = fixed_blocks(blocks, size) if pace is None else paced_blocks(blocks, pace)
    with codec.streaming(batch_size=layout.n_streams) as stream:
        for block, last in cut:
            wav = _tensor(layout.split(block, codec.config.channels), codec)
            codes = stream.encode(wav, n_codebooks=max(codebooks), last=last)  # [S, K, t]
            yield np.concatenate([rows[:k] for rows, k in zip(codes.cpu().numpy(), codebooks, strict=True)]).astype(np.uint16)


def encode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    codec: Codec,
    kbps: float = 6.0,
    channels: int | None = None,
    stereo: str = "mid_side",
    progress: Progress = lambda seconds: None,
    vbr: Target | None = None,
    entropy: str = "auto",
    verify: bool = False,
    chunk_seconds: float | None = None,
    overwrite: bool = True,
    track: int | None = None,
    lost: list[str] | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Result:
    """Encode audio into an `.ecdc` file; '-' is standard input or output.

    `channels` is 1, 2 or None to keep the source's, of which more than two become stereo. `track`
    chooses among several sound tracks, from 1. With a list in `lost` damage is no error: a line about
    it goes there, and what there is gets coded. `note` receives lines for people.
    With `vbr` the number of codebooks follows the sound, and `kbps` is not looked at. `entropy` is as
    in `header_for`; with `verify` every chunk is decoded again before it is written; chunks last
    `chunk_seconds`, or the format's default.
    Without `overwrite`, FileExistsError if the target exists when it is complete. Raises AudioError
    or ValueError with one line that says what was wrong; the target then does not exist, or is as
    it was before.
    """
    with AudioSource(source, track, lost) as audio:
        layout = layout_for(codec.config, channels or min(audio.info.channels, 2), stereo)
        codebooks = () if vbr else codebooks_per_stream(codec.config, layout, kbps)
        header = header_for(codec, layout, audio, tuple(audio.tags()), entropy)
        chunk_frames = header.default_chunk_frames if chunk_seconds is None else _chunk_frames(header, chunk_seconds)
        allocator = Allocator(codec, layout, header, vbr, chunk_frames) if vbr else None
        if channels is None and audio.info.channels > 2:
            note(f"{audio.info.channels} channels are folded to stereo; --channels mono makes one of them")
        for line in audio.notes:
            note(line)
        live = is_pipe(source) and not codec.config.segment_length
        pace = None if codec.config.segment_length else pace_for(codec, chunk_frames, BLOCK_FRAMES, live)
        if live:
            warm_up(codec, header, codebooks or (1,) * layout.n_streams, chunk_frames)
        prepared = Prepared(audio, layout.channels, codec.sample_rate, progress, pace if live else None)
        with output_stream(target, overwrite) as stream:
            writer = Writer(stream, header, chunk_frames, verify)
            if allocator:
                _write_variable(writer, codec, prepared, layout, allocator, pace)
            else:
                _write_codes(writer, codec, prepared, layout, codebooks, pace)
            writer.close(prepared.n_samples, prepared.n_original)
    rate = audio.info.sample_rate
    return Result(prepared.n_original / rate, writer.n_bytes, layout.channels, rate, codebooks)


def _chunk_frames(header: Header, seconds: float) -> int:
    """Frames of a chunk of so many seconds, as far as the format allows."""
    return max(1, min(ceil(seconds * header.frame_rate), header.chunk_limit))


def _write_codes(
    writer: Writer, codec: Codec, audio: Iterable[np.ndarray], layout: Layout, codebooks: tuple[int, ...], pace: Pace | None
) -> None:
    if codec.config.segment_length:
        wavs = (_tensor(layout.split(block, codec.config.channels), codec) for block in audio)
        for segment in codec.encode_segment_blocks(wavs, n_codebooks=codebooks[0]):
            writer.append_segment(segment.codes[0].cpu().numpy(), None if segment.scale is None else float(segment.scale))
        return
    for codes in encode_blocks(codec, audio, layout, codebooks, pace):
        writer.append(codes, codebooks)


def _write_variable(
    writer: Writer, codec: Codec, audio: Iterable[np.ndarray], layout: Layout, allocator: Allocator, pace: Pace | None
) -> None:
    """Codes at all codebooks, of which each stretch keeps what `allocator` gives it."""
    heard: list[np.ndarray] = []

    def listened() -> Iterator[np.ndarray]:
        for block in audio:
            heard.append(block)
            yield block

    def coded() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for codes in encode_blocks(codec, listened(), layout, allocator.codebooks, pace):
            yield codes, np.concatenate(heard, axis=1)
            heard.clear()

    size = round(WINDOW_SECONDS * codec.config.frame_rate)
    for codes, wav in windows(coded(), size, codec.config.hop_length):
        for part, books in allocator.cut(codes, wav):
            writer.append(part, books)


def decode_blocks(
    codec: Codec, reader: Reader, span: Span | None = None, salvage: Salvage | None = None
) -> Iterator[np.ndarray]:
    """The audio of a stream in blocks [C, n] at the codec's rate, cut to its exact length or to a span of it.

    Raises FormatError where the stream is of another token space, or damaged and not read
    through `salvage`.
    """
    header = reader.header
    header.require(codec.config.name, codec.token_space)
    layout = Layout(header.channel_coding, header.channels)
    gain = np.float32(10 ** (header.output_gain / 5120))
    start, stop, skip = frames_of(span, codec, reader) if span else (0, None, header.pre_skip)
    chunks = salvage or _cut_chunks(reader, start, stop)
    if header.segment_length:
        blocks = _decode_segments(codec, chunks)
    else:
        is_file = span is not None or salvage is not None or reader.n_frames is not None
        coded = coded_blocks(chunks, float(header.frame_rate), BLOCK_FRAMES, join=is_file)
        blocks = _decode_stream(codec, coded, header.n_streams, start)

    def length() -> int | None:
        if salvage:
            return salvage.n_samples
        return span.last - span.first if span else reader.n_samples

    for block in trimmed((layout.join(b) for b in blocks), skip, header.hop_length, length):
        yield block * gain


def _cut_chunks(reader: Reader, start: int, stop: int | None) -> Iterator[Chunk]:
    """The chunks of the frames [start, stop), the first and the last cut to them."""
    for chunk in reader.chunks(start, stop):
        first = max(start - chunk.first_frame, 0)
        codes = chunk.codes[:, first : None if stop is None else stop - chunk.first_frame]
        yield dataclasses.replace(chunk, first_frame=chunk.first_frame + first, codes=codes)


def _decode_stream(codec: Codec, blocks: Iterable[Coded], n_streams: int, start: int) -> Iterator[np.ndarray]:
    """Decoded streams [S, c, n] of an unsegmented file, from frame `start` on."""
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(codec.streaming(first_frame=start)) for _ in range(n_streams)]
        silencers = [Silencer(codec.config.hop_length) for _ in streams]
        for codebooks, codes, last in blocks:
            rows = _tensor(codes.astype(np.int64), codec).split(codebooks)
            wavs = [s.decode(k_rows[None], last=last)[0].cpu().numpy() for s, k_rows in zip(streams, rows, strict=True)]
            for silencer, k in zip(silencers, codebooks, strict=True):
                silencer.tell(k, codes.shape[1])
            yield np.stack([silencer(wav) for silencer, wav in zip(silencers, wavs, strict=True)])


def _decode_segments(codec: Codec, chunks: Iterable[Chunk]) -> Iterator[np.ndarray]:
    """Decoded audio [1, c, n] of a file in overlapping segments."""
    segments = (Segment(_tensor(c.codes.astype(np.int64), codec)[None], _scale(c.scale, codec)) for c in chunks)
    for wav in codec.decode_segment_blocks(segments):
        yield wav.cpu().numpy()


def decode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | Output,
    model: Codec | None = None,
    sample_rate: int | None = None,
    form: str | None = None,
    progress: Progress = lambda seconds: None,
    start: Fraction = Fraction(0),
    duration: Fraction | None = None,
    lost: list[str] | None = None,
    decoder: Callable[[Codec], Codec] = lambda codec: codec,
    max_seconds: float | None = MAX_SECONDS,
) -> Result:
    """Decode an `.ecdc` file into audio; '-' is standard input or output, and an Output says more about where it goes.

    `model` is the codec to decode with (default: the bundled one that the file names), `sample_rate`
    the rate of the output in Hz (default: the original's; the next one that the format has), `form`
    its format if the suffix does not say it, `start` and `duration` a span of the audio in seconds,
    for which only what it needs is read: its samples are those of a full decode. `decoder` may give
    the codec another decoder (see diffusion.choice.with_decoder). With a list in `lost` damage is no
    error: a line about each loss goes there, and its place is silent. Files of the original EnCodec
    (version 0) are read too. More audio than `max_seconds` is refused, unless that is None.
    Raises FormatError, CheckpointError, AudioError, ValueError or OSError with one
    line that says what was wrong; the target then does not exist, or is as it was before.
    """
    output = target if isinstance(target, Output) else Output(target, form)
    output.check()
    with input_stream(source) as stream:
        start_bytes, stream = look_ahead(stream, 5)
        if major_version(start_bytes) == 0:
            if start or duration is not None:
                raise ValueError("files of version 0 have no index: decode all of it, or convert the file first")
            old = read_v0(stream)
            check_seconds(old.n_samples / old.model.sample_rate, max_seconds)
            return _decode_v0(old, output, model, decoder, sample_rate)
        is_span = bool(start) or duration is not None
        reader = Reader(seekable(stream) if is_span else stream)
        header = reader.header
        output = _with_tags(output, header)
        if not is_span:
            check_seconds(float((reader.n_frames or 0) / header.frame_rate), max_seconds)
        codec = decoder(model or load_bundled(header.codec))
        rate = output.legal_rate(sample_rate or header.original_sample_rate)
        if reader.n_frames is None and not header.segment_length:
            header.require(codec.config.name, codec.token_space)
            warm_up(codec, header, (min(header.max_codebooks, codec.config.n_codebooks),) * header.n_streams, None)
        if is_span:
            blocks, n_wanted = _decode_span(codec, reader, rate, start, duration)
            check_seconds(n_wanted / rate, max_seconds)
            n_samples = write_audio(blocks, output, rate, header.channels, n_wanted, progress)
            return Result(n_samples / rate, reader.n_bytes, header.channels, rate)

        salvage = None if lost is None else Salvage(reader)
        known = salvage or reader

        def length() -> int | None:
            return length_at(rate, header, known.n_samples, known.original_n_samples)

        decoded = bounded(decode_blocks(codec, reader, salvage=salvage), header.sample_rate, max_seconds)
        blocks = restored(decoded, header.sample_rate, rate, length)
        n_samples = write_audio(blocks, output, rate, header.channels, length(), progress)
        if lost is not None and salvage:
            lost += [item.describe(header) for item in salvage.lost]
    return Result(n_samples / rate, reader.n_bytes, header.channels, rate)


def _with_tags(output: Output, header: Header) -> Output:
    """An output whose file receives the tags of the stream when it is complete."""
    if not header.tags or output.finish is not None:
        return output

    def finish(path: Path) -> None:
        from .tags import write_tags

        write_tags(path, output.check().name, header.tags)

    return dataclasses.replace(output, finish=finish)


def _decode_span(
    codec: Codec, reader: Reader, rate: int, start: Fraction, duration: Fraction | None
) -> tuple[Iterator[np.ndarray], int]:
    """The audio blocks of a span at `rate`, and its length in samples."""
    header = reader.header
    n_samples = reader.n_samples
    if n_samples is None:  # the stream was cut off: what its whole chunks decode to
        n_samples = max(0, reader.index.n_decodable(header) - header.pre_skip)
    original = reader.original_n_samples
    if original is None:
        original = resampled_length(n_samples, header.sample_rate, header.original_sample_rate)
    n_out = length_at(rate, header, n_samples, original)
    assert n_out is not None  # as both lengths are known
    span = Span.of(start, duration, n_out, n_samples, (header.sample_rate, rate))
    n_wanted = span.stop - span.start
    blocks = restored(decode_blocks(codec, reader, span), header.sample_rate, rate, lambda: span.skip + n_wanted)
    return clipped(blocks, span.skip, n_wanted), n_wanted


def _decode_v0(
    file: V0File, output: Output, model: Codec | None, decoder: Callable[[Codec], Codec], sample_rate: int | None
) -> Result:
    """Decode a file of the original container; it names its model but holds no hash to check."""
    codec = decoder(model or load_bundled(file.model_name))
    if (codec.config.sample_rate, codec.config.hop_length) != (file.model.sample_rate, file.model.hop_length):
        raise ValueError(f"the file needs {file.model_name}, got {codec.config.name}")
    segments = [Segment(_tensor(codes.astype(np.int64), codec)[None], _scale(scale, codec)) for codes, scale in file.segments]
    wav = codec.decode_segments(segments, file.n_samples)[0].cpu().numpy()
    rate = output.legal_rate(sample_rate or codec.sample_rate)
    n_wanted = resampled_length(file.n_samples, codec.sample_rate, rate)
    blocks = restored([wav], codec.sample_rate, rate, lambda: n_wanted)
    n_samples = write_audio(blocks, output, rate, wav.shape[0], n_wanted, lambda seconds: None)
    return Result(n_samples / rate, file.n_bytes, wav.shape[0], rate)
