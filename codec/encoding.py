"""Encode audio into a container, in bounded memory.

Audio is coded in blocks of a fixed number of frames, however it is read, so a pipe, a file and
a whole signal go through the same arithmetic and give the same tokens.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from math import ceil
from typing import Any

import numpy as np

from ..format import Entropy, Header, Writer
from ..format.arguments import finite_number
from ..format.entropy.installed_priors import find_prior
from ..format.errors import ArgumentError
from ..format.files import output_stream, refuse_to_replace
from .audio import AudioError, AudioSource
from .channel_layout import Layout, codebooks_per_stream, highest_note
from .default_model import DEFAULT_MODEL
from .effort import file_effort
from .full_scale import encoding_note
from .live import Pace, is_pipe, pace_for, paced_blocks, warm_up
from .pipeline_parts import BLOCK_FRAMES, Result, to_array
from .prepare import Prepared, Progress, fixed_blocks
from .protocols import Model
from .runtime import codec_of
from .stereo_choice import AUTO, layout_of
from .vbr import WINDOW_SECONDS, Allocator, Target, regroup_windows

ENTROPIES = "auto", "none"


def seconds_of(source: str | os.PathLike[str]) -> float | None:
    """Return the seconds of audio in a regular file if its header gives them, else None. Used for progress bars."""
    if str(source) == "-" or not os.path.isfile(source):  # a pipe can be read only once
        return None
    try:
        with AudioSource(source) as audio:
            if audio.info.n_samples:
                return audio.info.n_samples / audio.info.sample_rate
    except AudioError:
        return None
    from .av_reader import duration_of

    with open(source, "rb") as file:
        return duration_of(file)


def header_for(
    codec: Model, layout: Layout, source: AudioSource, tags: tuple[tuple[str, str], ...] = (), entropy: str = "auto"
) -> Header:
    """Return the container header for `source` coded by `codec`. Lengths are written at the end of the stream.

    `entropy`: "auto" uses a prior for the codes if one is installed, "none" does not.
    """
    config = codec.config
    if entropy not in ENTROPIES:
        raise ArgumentError(f"entropy must be one of {', '.join(ENTROPIES)}, got {entropy!r}")
    prior = find_prior(codec.token_space) if entropy == "auto" else None
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
    codec: Model, blocks: Iterable[np.ndarray], layout: Layout, codebooks: tuple[int, ...], pace: Pace | None = None,
    effort: int = 0,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Encode audio blocks [C, n] at the codec's rate to codes [R, t], the codebooks of each stream one after the other.

    `pace` sets how much is coded at once; None means BLOCK_FRAMES. `effort` is 0 to 10, see Codec.encode.
    """
    size = BLOCK_FRAMES * codec.config.hop_length
    cut = fixed_blocks(blocks, size) if pace is None else paced_blocks(blocks, pace)
    # Greedy codes for more codebooks begin with those for fewer. With effort they do not, so each signal is then encoded alone.
    is_alone = effort and len(set(codebooks)) > 1
    groups = [slice(i, i + 1) for i in range(len(codebooks))] if is_alone else [slice(None)]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(codec.streaming(batch_size=len(codebooks[group]))) for group in groups]
        for block, last in cut:
            wav = layout.split(block, codec.config.channels)
            rows: list[np.ndarray] = []
            for stream, group in zip(streams, groups, strict=True):
                codes = stream.encode(wav[group], n_codebooks=max(codebooks[group]), last=last, effort=effort)
                rows.extend(to_array(codes))  # [K, t] each
            yield np.concatenate([row[:k] for row, k in zip(rows, codebooks, strict=True)]).astype(np.uint16)


def encode_file(
    source: str | os.PathLike[str], target: str | os.PathLike[str], model: Model | str = DEFAULT_MODEL, *, kbps: float = 6.0,
    channels: int | None = None, stereo: str = AUTO, progress: Progress = lambda seconds: None,
    vbr: Target | None = None, entropy: str = "auto", verify: bool = False, chunk_seconds: float | None = None,
    overwrite: bool = True, track: int | None = None, lost: list[str] | None = None, effort: int | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Result:  # fmt: skip
    """Encode audio into an `.ecdc` file; '-' is standard input or output.

    `model` is a codec, or what `ecdc.load` takes; a model named again is not read again. `channels` is 1, 2 or None to keep
    the source's; more than two are downmixed to stereo. `stereo` is how a mono codec codes two channels: "mid_side",
    "left_right", "narrow", or "auto", which reads the recording twice to choose by its width. `track` selects a sound track,
    from 1. If `lost` is a list, damage is not an error: a line is appended there, and the readable audio is coded. `note`
    receives messages for the user. With `vbr` (an `ecdc.codec.vbr.Target`), `kbps` is not used. `entropy` is "auto" to use the
    model's prior, or "none". With `verify`, every chunk is decoded before it is written. `effort`, 0 to 10, is how long to
    search for codes; the default is 4, or 0 for EnCodec. The target is replaced if it exists; with `overwrite=False`,
    FileExistsError is raised instead. Raises AudioError or ValueError with one line, also if the target is the source.
    """
    codec = codec_of(model)
    refuse_to_replace(source, target)
    effort = file_effort(codec.config, effort)  # refuses a wrong one before anything is read
    with AudioSource(source, track, lost) as audio:
        layout = layout_of(audio, codec.config, channels, stereo)
        codebooks = () if vbr else codebooks_per_stream(codec.config, layout, kbps)
        header = header_for(codec, layout, audio, tuple(audio.tags()), entropy)
        chunk_frames = header.default_chunk_frames if chunk_seconds is None else _chunk_frames(header, chunk_seconds)
        allocator = Allocator(codec, layout, header, vbr, chunk_frames) if vbr else None
        for line in [*_notes(audio, channels), *highest_note(codec.config, layout, vbr.kbps if vbr else kbps)]:
            note(line)
        live = is_pipe(source) and not codec.config.segment_length
        if live:
            warm_up(codec, header, codebooks or (1,) * layout.n_streams, chunk_frames)
        pace = None if codec.config.segment_length else pace_for(codec, chunk_frames, BLOCK_FRAMES, live)
        prepared = Prepared(audio, layout.channels, codec.sample_rate, progress, pace if live else None)
        with output_stream(target, overwrite) as stream:
            writer = Writer(stream, header, chunk_frames, verify)
            _write(writer, codec, prepared, layout, allocator or codebooks, pace, effort)
            _close(writer, prepared, audio, note)
    about = writer.n_bytes, layout.channels, audio.info.sample_rate, codebooks, tuple(lost or ())
    return Result(prepared.n_original / audio.info.sample_rate, *about)


def _close(writer: Writer, prepared: Prepared, audio: AudioSource, note: Callable[[str], None]) -> None:
    """Complete the stream. `note` receives a line if samples of the source are beyond full scale."""
    writer.close(prepared.n_samples, prepared.n_original)
    if prepared.overs.is_notable(audio.info.is_lossy):
        note(f"{audio.name}: {encoding_note(prepared.overs)}")


def _notes(audio: AudioSource, channels: int | None) -> list[str]:
    """Return lines that tell the user how the source is read."""
    lines = list(audio.notes)
    if channels is None and audio.info.channels > 2:
        lines.insert(0, f"{audio.info.channels} channels are downmixed to stereo; for mono, use --channels mono")
    return lines


def _write(
    writer: Writer, codec: Model, audio: Prepared, layout: Layout, amount: Allocator | tuple[int, ...], pace: Pace | None,
    effort: int,
) -> None:  # fmt: skip
    """Encode all audio, with a fixed number of codebooks per stream or as an allocator decides."""
    if isinstance(amount, Allocator):
        _write_variable(writer, codec, audio, layout, amount, pace, effort)
    else:
        _write_codes(writer, codec, audio, layout, amount, pace, effort)


def _chunk_frames(header: Header, seconds: float) -> int:
    """Return the frames of a chunk of `seconds`, within the limits of the format. Raises ValueError unless they are above 0."""
    if finite_number("chunk_seconds", seconds) <= 0:
        raise ArgumentError(f"chunk_seconds must be more than 0, got {seconds}")
    return max(1, min(ceil(seconds * header.frame_rate), header.chunk_limit))


def _write_codes(
    writer: Writer, codec: Model, audio: Iterable[np.ndarray], layout: Layout, codebooks: tuple[int, ...], pace: Pace | None,
    effort: int,
) -> None:  # fmt: skip
    if codec.config.segment_length:
        segmented: Any = codec
        wavs = (layout.split(block, codec.config.channels) for block in audio)
        for segment in segmented.encode_segment_blocks(wavs, n_codebooks=codebooks[0]):
            writer.append_segment(to_array(segment.codes[0]), None if segment.scale is None else float(segment.scale[0, 0]))
        return
    for codes in encode_blocks(codec, audio, layout, codebooks, pace, effort):
        writer.append(codes, codebooks)


def _write_variable(
    writer: Writer, codec: Model, audio: Iterable[np.ndarray], layout: Layout, allocator: Allocator, pace: Pace | None,
    effort: int,
) -> None:  # fmt: skip
    """Write codes of variable bitrate: encode with all codebooks, and keep those that `allocator` grants each stretch."""
    heard: list[np.ndarray] = []
    nothing = np.zeros((layout.channels, 0), np.float32)  # heard since the last codes, if one block of audio gave several

    def listened() -> Iterator[np.ndarray]:
        for block in audio:
            heard.append(block)
            yield block

    def coded() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for codes in encode_blocks(codec, listened(), layout, allocator.codebooks, pace, effort):
            yield codes, np.concatenate([nothing, *heard], axis=1)
            heard.clear()

    size = round(WINDOW_SECONDS * codec.config.frame_rate)
    for codes, wav in regroup_windows(coded(), size, codec.config.hop_length):
        for part, books in allocator.cut(codes, wav):
            writer.append(part, books)
