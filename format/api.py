"""The everyday interface to .ecdc files: open one, look at its properties, read frames; or write a complete file at once.

    with ecdc.open("song.ecdc") as file:
        file.seconds, file.frames, file.n_codebooks
        codes = file.codes(0, 750)  # [R, 750] uint16
    ecdc.write("copy.ecdc", codes, file.header)

It is built on Reader and Writer, which also handle pipes and streams that are still being written.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import timing
from .arguments import array_of, described, path_name
from .bytestream import look_ahead
from .chunk import Chunk, merge_chunks
from .errors import ArgumentError
from .files import FileLike, output_stream
from .header import Header, major_version
from .reader import Reader
from .schema import DIGEST_SIZE, ChannelCoding
from .streams import stream_count
from .v0 import BITS, SegmentCoder, V0File, read_v0
from .writer import Writer


class CodeFile:
    """An .ecdc file that is open for reading: version 1, or the original container (version 0).

    Codes are [R, T] uint16, R = sum(n_codebooks): for one stream [K, T]; for two streams, the codebooks of the first
    followed by those of the second. `streams` returns them separately.

    A file opened by its path can be pickled, and used in a forked process: it reopens the path there. Data loaders with
    worker processes can therefore hold lists of CodeFiles. Threads may share one. After closing, `header` stays available.
    """

    header: Header  # token_space is 32 zero bytes for version 0, which does not store one
    version: int  # of the container, 0 or 1

    def __init__(self, file: FileLike, coder: SegmentCoder | None = None) -> None:
        """Open a path, or read a file object from its current position; raises OSError or FormatError.

        `coder` decodes version 0 files that were coded with EnCodec's language model.
        """
        given = hasattr(file, "read")
        self._path = None if given else Path(path_name(file)).absolute()
        self._fileobj = cast(BinaryIO, file) if given else None
        self._closed, self._coder = False, coder
        self._first_ks: tuple[int, ...] | None = None  # K of each stream in the first chunk; None until it is read
        self._connect()

    @property
    def codec(self) -> str:
        """Name of the model."""
        return self.header.codec

    @property
    def frames(self) -> int | None:
        """T of the file, or of its complete chunks if it was cut off; None on a pipe before its end."""
        return self._stream.n_frames

    @property
    def seconds(self) -> float | None:
        """Duration of the audio, or of its complete chunks if the file was cut off; None on a pipe until known."""
        n_samples = self._stream.n_samples
        if n_samples is None and self.frames is not None:
            n_samples = self.frames * self.header.hop_length
        return None if n_samples is None else float(timing.seconds(n_samples, self.header.sample_rate))

    @property
    def n_samples(self) -> int | None:
        """Number of decoded samples N at `sample_rate`; None while unknown."""
        return self._stream.n_samples

    @property
    def original_n_samples(self) -> int | None:
        """Number of samples N at header.original_sample_rate; None while unknown."""
        return self._stream.original_n_samples

    @property
    def channels(self) -> int:
        """Number of audio channels C."""
        return self.header.channels

    @property
    def sample_rate(self) -> int:
        """Sample rate of the codec in Hz."""
        return self.header.sample_rate

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second, exact."""
        return self.header.frame_rate

    @property
    def codebook_size(self) -> int:
        """Entries per codebook V: codes are in [0, V)."""
        return self.header.codebook_size

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """(key, value) of each tag."""
        return self.header.tags

    @property
    def n_codebooks(self) -> tuple[int, ...]:
        """K of each stream in the first chunk; zeros if there is no chunk. K may change from chunk to chunk.

        Raises FormatError if that chunk cannot be read, io.UnsupportedOperation on a pipe.
        """
        if self._first_ks is None:
            if self.frames is None:
                raise io.UnsupportedOperation("on a pipe, only the chunks say how many codebooks they have")
            first = next(self.chunks(), None)
            self._first_ks = first.n_codebooks if first else (0,) * self.header.n_streams
        return self._first_ks

    @property
    def name(self) -> str:
        """The absolute path, or the name of the file object."""
        return str(self._path) if self._path else str(getattr(self._fileobj, "name", self._fileobj))

    @property
    def closed(self) -> bool:
        return self._closed

    def codes(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint16]:
        """Return the codes [R, t] of the frames [start, stop); None: to the end. Only the chunks that hold them are read.

        If K varies, each stream returns only the codebooks that all of these frames have. Raises ValueError if the file
        does not have these frames, FormatError if the bytes are damaged or end too early.
        """
        return self._stream.span(start, stop).codes

    def streams(self, start: int = 0, stop: int | None = None) -> tuple[NDArray[np.uint16], ...]:
        """Return the same codes as one array [K, t] per stream. K may differ between streams."""
        return self._stream.span(start, stop).streams()

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[Chunk]:
        """Yield every chunk that overlaps the frames [start, stop), uncut. A segment's chunk has its scale."""
        return self._stream.chunks(start, stop)

    def close(self) -> None:
        """Close the file if it was opened by its path; a file object given by the caller stays open."""
        self._closed = True
        if self._path and self._fileobj:
            self._fileobj.close()

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def __enter__(self) -> CodeFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<ecdc.CodeFile {self.name!r}, closed>"
        return f"<ecdc.CodeFile {self.name!r}: {self.codec}, {self.frames} frames, {self.channels} channel(s)>"

    def __getstate__(self) -> dict[str, Any]:
        if self._path is None:
            raise TypeError("only a file that was opened by its path can be pickled")
        kept = ("header", "version", "_path", "_closed", "_coder", "_first_ks")
        return {name: getattr(self, name) for name in kept} | {"_fileobj": None, "_process": None}

    @property
    def _stream(self) -> Reader | _V0Stream:
        if self._closed:
            raise ArgumentError(f"{self.name} is closed")
        if self._path and self._process != os.getpid():  # unpickled, or forked: a fork shares the file position
            self._connect()
        return self._connected

    def _connect(self) -> None:
        fileobj = self._path.open("rb") if self._path else self._fileobj
        assert fileobj is not None
        try:
            start, stream = look_ahead(fileobj, 5)
            self._connected = _V0Stream(read_v0(stream, self._coder)) if major_version(start) == 0 else Reader(stream)
        except BaseException:
            if self._path:
                fileobj.close()
            raise
        self._fileobj, self._process = fileobj, os.getpid()
        self.header, self.version = self._connected.header, self._connected.version


class _V0Stream:
    """A version 0 file, read completely, with the interface of a Reader."""

    version = 0

    def __init__(self, file: V0File) -> None:
        model = file.model
        self.header = Header(
            codec=file.model_name,
            token_space=bytes(DIGEST_SIZE),
            sample_rate=model.sample_rate,
            original_sample_rate=model.sample_rate,
            hop_length=model.hop_length,
            codebook_size=1 << BITS,
            max_codebooks=model.max_codebooks,
            channels=model.channels,
            channel_coding=ChannelCoding.MONO if model.channels == 1 else ChannelCoding.JOINT,
            segment_length=model.segment_length,
            segment_stride=model.segment_stride,
            n_samples=file.n_samples,
            original_n_samples=file.n_samples,
        )
        self.n_samples = self.original_n_samples = file.n_samples
        self.n_frames = 0
        self._chunks: list[Chunk] = []
        for codes, scale in file.segments:
            self._chunks.append(Chunk(self.n_frames, codes, (file.n_codebooks,), scale))
            self.n_frames += codes.shape[1]

    def chunks(self, start_frame: int = 0, stop_frame: int | None = None) -> Iterator[Chunk]:
        stop_frame = self.n_frames if stop_frame is None else stop_frame
        return (chunk for chunk in self._chunks if chunk.stop_frame > start_frame and chunk.first_frame < stop_frame)

    def span(self, start_frame: int = 0, stop_frame: int | None = None) -> Chunk:
        timing.check_range(start_frame, stop_frame)
        timing.check_start(start_frame, self.n_frames)
        return merge_chunks(self.chunks(start_frame, stop_frame), start_frame, stop_frame)


def open(
    file: FileLike, coder: SegmentCoder | None = None
) -> CodeFile:  # the name is for `ecdc.open`; nothing in this module calls Python's own open
    """Open an .ecdc file, given as a path or as a binary file object. The caller closes a file object.

    Raises OSError if the file cannot be opened, FormatError if it is not an .ecdc file. See CodeFile.
    """
    return CodeFile(file, coder)


def write(
    file: FileLike,
    codes: ArrayLike | CodeFile | Iterator[Chunk],
    header: Header | None = None,
    *,
    n_codebooks: Sequence[int] | None = None,
    chunk_frames: int | None = None,
    **fields: Any,
) -> None:
    """Write a complete .ecdc file. If `file` is a path, the file appears, or is replaced, only when it is complete.

    `codes` is one of: integers [R, T] in [0, V), with `n_codebooks` as the K of each stream (None divides R evenly);
    a CodeFile; an iterator of chunks. For the last two, K, segments and scales are kept. `fields` are fields of Header;
    they replace those of `header` or of the CodeFile's header. Without a header, original_sample_rate defaults to
    sample_rate, and max_codebooks to the number that `codes` needs. If the format cannot hold the values, raises
    ValueError and leaves the path unchanged.
    """
    chunks = cast("Iterable[Chunk]", codes) if isinstance(codes, CodeFile | Iterator) else None
    array = array_of(codes) if chunks is None else np.empty((0, 0), np.uint16)
    header = _header_for(codes, array, header, fields)
    with output_stream(file) as stream, Writer(stream, header, chunk_frames) as writer:
        if chunks is None:
            writer.append(array, n_codebooks)
        for chunk in chunks or ():
            if not isinstance(chunk, Chunk):
                raise ArgumentError(f"an iterator must give Chunks, got {described(chunk)}")
            writer.append_chunk(chunk)
        writer.close(*(_lengths(codes, header) if isinstance(codes, CodeFile) else ()))


def _lengths(source: CodeFile, header: Header) -> tuple[int | None, int | None]:
    """Return (n_samples, original_n_samples) of `source` for a copy of its codes; lengths in `header` take precedence."""
    n_samples = original = None
    if header.sample_rate == source.sample_rate:
        n_samples = source.n_samples
        if header.original_sample_rate == source.header.original_sample_rate:
            original = source.original_n_samples
    known = header.n_samples, header.original_n_samples
    return (n_samples, original) if known == (None, None) else known


def _header_for(codes: object, array: NDArray[Any], header: Header | None, fields: dict[str, Any]) -> Header:
    known = dataclasses.fields(Header)
    if unknown := sorted(fields.keys() - {field.name for field in known}):
        raise ArgumentError(f"a Header has no {' and no '.join(unknown)}; it has {', '.join(field.name for field in known)}")
    if not isinstance(header, Header | None):
        raise ArgumentError(f"header must be a Header, got {described(header)}")
    if header is None and isinstance(codes, CodeFile):
        header = codes.header
        if codes.version == 0 and "token_space" not in fields:
            raise ArgumentError("a version 0 file does not name its token space: give token_space=")
    if header is not None:
        return dataclasses.replace(header, **fields)
    if "sample_rate" in fields:
        fields = {"original_sample_rate": fields["sample_rate"]} | fields
    if "max_codebooks" not in fields and array.ndim == 2:
        n_streams = stream_count(fields.get("channel_coding", ChannelCoding.MONO))
        fields = fields | {"max_codebooks": max(timing.ceil_div(len(array), n_streams), 1)}
    needed = [field.name for field in known if field.default is dataclasses.MISSING]
    if missing := [name for name in needed if name not in fields]:
        raise ArgumentError(f"without a header, these fields of one are needed: {', '.join(missing)}")
    return Header(**fields)
