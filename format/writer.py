"""Codes -> stream. Never seeks, so that the other end may be a pipe."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import timing
from .bytestream import Source, write_all
from .chunk import Chunk, codebooks_problem, codes_checksum, decode_codes, encode_codes, read_envelope
from .header import Header
from .priors import prior_of
from .schema import MAX_CHUNK_FRAMES, MAX_PRIOR_CODES, Entropy
from .trailer import Index, Trailer

if TYPE_CHECKING:
    from .prior import Coding


class Writer:
    """Write a stream as its codes are made.

    The header is written at once, every chunk as soon as its frames are there, and the END chunk by close(). Used as a
    context manager, it closes itself; after an exception it leaves the stream without an END chunk instead, so that no
    reader takes it for whole. The file object is never closed.
    """

    def __init__(self, fileobj: BinaryIO, header: Header, chunk_frames: int | None = None, verify: bool = False) -> None:
        """`chunk_frames` is the length of every chunk but the last and those that `flush` ends; None: about five seconds.

        With `verify` every chunk is decoded again, and RuntimeError raised before it is written if its codes differ.
        """
        chunk_frames = header.default_chunk_frames if chunk_frames is None else chunk_frames
        if not 1 <= chunk_frames <= MAX_CHUNK_FRAMES:
            raise ValueError(f"chunk_frames must be 1 to {MAX_CHUNK_FRAMES}, got {chunk_frames}")
        self.header = header
        self.chunk_frames = chunk_frames
        self.n_bytes = 0  # written so far
        self._fileobj, self._verify = fileobj, verify
        self._closed = False
        self._sizes: list[int] = []  # of each chunk, in bytes
        self._chunk_lengths: list[int] = []  # of each chunk, in frames
        self._written_frames = 0
        self._checksum = 0
        self._waiting: list[NDArray[np.uint16]] = []  # blocks [R, t] of the chunk to come
        self._waiting_frames = 0
        self._n_codebooks: tuple[int, ...] = ()  # of the waiting blocks
        self._coding: Coding | None = None  # of the waiting blocks: what the prior has seen of them
        self._write(header.to_bytes())
        self._header_size = self.n_bytes

    @property
    def n_frames(self) -> int:
        """T so far, the frames that wait for their chunk to fill included."""
        return self._written_frames + self._waiting_frames

    def append(self, codes: ArrayLike, n_codebooks: Sequence[int] | None = None) -> None:
        """Add frames: codes [R, t], any integers in [0, V), for any t.

        `n_codebooks` is the K of each stream, sum(n_codebooks) == R; None: R shared out evenly. A change of K starts a
        new chunk. How the frames are cut into calls makes no other difference to the bytes.
        """
        if self.header.segment_length:
            raise ValueError("this stream is segmented: use append_segment")
        block, n_codebooks = self._checked(codes, n_codebooks)
        if n_codebooks != self._n_codebooks:
            self._write_waiting(at_least=1)
            self._waiting, self._n_codebooks = [], n_codebooks
        self._waiting.append(block)
        self._waiting_frames += block.shape[1]
        self._write_waiting(at_least=self.chunk_frames)
        self._code_ahead()

    def append_segment(self, codes: ArrayLike, scale: float | None = None, n_codebooks: Sequence[int] | None = None) -> None:
        """Add one segment: codes [R, t] as one chunk, with the scale of its decoded samples, kept as a float32."""
        if not self.header.segment_length:
            raise ValueError("this stream is not segmented: use append")
        block, n_codebooks = self._checked(codes, n_codebooks)
        self._write_chunk(block, n_codebooks, scale)

    def append_chunk(self, chunk: Chunk) -> None:
        """Add the codes of a chunk of another stream, wherever it stood there; in a segmented stream it is a segment.

        One that is longer than `chunk_frames` stays whole: a stream in few chunks does not become one in very many.
        """
        if self.header.segment_length:
            self.append_segment(chunk.codes, chunk.scale, chunk.n_codebooks)
        elif chunk.n_frames > self.chunk_frames:
            block, n_codebooks = self._checked(chunk.codes, chunk.n_codebooks)
            self.flush()
            self._write_chunk(block, n_codebooks)
        else:
            self.append(chunk.codes, chunk.n_codebooks)

    def flush(self) -> None:
        """Write what waits as a chunk of its own: whoever reads along has it at once."""
        self._write_waiting(at_least=1)

    def close(self, n_samples: int | None = None, original_n_samples: int | None = None) -> None:
        """Write what waits and the END chunk.

        Lengths not given are those of the header; if it does not know them, all that the codes decode to.
        """
        if self._closed:
            return
        self._write_waiting(at_least=1)
        header = self.header
        index = Index.of(self._header_size, self._sizes, self._chunk_lengths)
        n_decodable = index.n_decodable(header)
        if n_samples is None:
            n_samples = max(n_decodable - header.pre_skip, 0) if header.n_samples is None else header.n_samples
        if original_n_samples is None:
            original_n_samples = header.original_n_samples
        if original_n_samples is None:
            original_n_samples = timing.resampled_length(n_samples, header.sample_rate, header.original_sample_rate)
        header.check_lengths(n_samples, original_n_samples, n_decodable)
        self._write(Trailer(n_samples, original_n_samples, self._checksum, index).to_bytes())
        self._closed = True

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()
        self._closed = True

    def _checked(self, codes: ArrayLike, n_codebooks: Sequence[int] | None) -> tuple[NDArray[np.uint16], tuple[int, ...]]:
        if self._closed:
            raise ValueError("the stream is closed")
        array = np.asarray(codes)
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"codes must be integers [R, t], got {array.dtype} {array.shape}")
        if array.size and (array.min() < 0 or array.max() >= self.header.codebook_size):
            raise ValueError(f"codes must be 0 to {self.header.codebook_size - 1}, got {array.min()} to {array.max()}")
        if n_codebooks is None:
            each, rest = divmod(len(array), self.header.n_streams)
            if rest:
                raise ValueError(f"{len(array)} rows do not share out over {self.header.n_streams} streams")
            n_codebooks = (each,) * self.header.n_streams
        problem = codebooks_problem(tuple(n_codebooks), self.header)
        if problem:
            raise ValueError(problem)
        if sum(n_codebooks) != len(array):
            raise ValueError(f"codes must have {sum(n_codebooks)} rows for K = {tuple(n_codebooks)}, got {len(array)}")
        return array.astype(np.uint16), tuple(n_codebooks)  # a copy: the caller may use its array again

    def _code_ahead(self) -> None:
        """Show the prior what waits, so that little work is left when the chunk is full."""
        n_waiting, n_rows = self._waiting_frames, sum(self._n_codebooks)
        if self.header.entropy is Entropy.RAW or not 0 < n_waiting * n_rows <= MAX_PRIOR_CODES:
            return
        self._coding = self._coding or prior_of(self.header).coding(self._n_codebooks)
        block = self._waiting[-1]
        self._coding.push(block[:, block.shape[1] - (n_waiting - self._coding.n_frames) :])

    def _write_waiting(self, at_least: int) -> None:
        """Write chunks while at least so many frames wait."""
        if self._waiting_frames < at_least:
            return
        codes = np.concatenate(self._waiting, axis=1)
        start = 0
        while codes.shape[1] - start >= at_least:
            self._write_chunk(codes[:, start : start + self.chunk_frames], self._n_codebooks, begun=self._coding)
            self._coding = None
            start += self.chunk_frames
        self._waiting = [codes[:, start:]]
        self._waiting_frames = self._waiting[0].shape[1]

    def _write_chunk(
        self, codes: NDArray[np.uint16], n_codebooks: tuple[int, ...], scale: float | None = None, begun: Coding | None = None
    ) -> None:
        chunk = Chunk(self._written_frames, codes, n_codebooks, None if scale is None else float(np.float32(scale)))
        data = encode_codes(chunk, self.header, len(self._sizes), begun)
        if self._verify:
            self._check(data, chunk)
        self._write(data)
        self._sizes.append(len(data))
        self._chunk_lengths.append(chunk.n_frames)
        self._checksum = codes_checksum(codes, self._checksum)
        self._written_frames = chunk.stop_frame

    def _check(self, data: bytes, chunk: Chunk) -> None:
        found = decode_codes(read_envelope(Source(io.BytesIO(data))), self.header)
        if not np.array_equal(found.codes, chunk.codes):
            raise RuntimeError(f"chunk {len(self._sizes)} does not decode to the codes that it was made of")

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._fileobj, data)
        except BaseException:  # part of it may be out: nothing that follows could be read
            self._closed = True
            raise
        self.n_bytes += len(data)
