"""Write codes to a stream. The writer never seeks, so the output may be a pipe."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import timing
from .arguments import array_of, described, whole_number
from .bytestream import Source, write_all
from .chunk import Chunk, codebooks_problem, codes_checksum, decode_codes, encode_codes, read_envelope
from .entropy.installed_priors import load_prior
from .errors import ArgumentError
from .header import Header
from .schema import MAX_CHUNK_FRAMES, MAX_PRIOR_CODES, Entropy
from .trailer import Index, Trailer

if TYPE_CHECKING:
    from .entropy.prior import Coding


class Writer:
    """Write a stream while its codes are produced.

    The header is written at once, each chunk as soon as all its frames are known, and the END chunk by close(). As a
    context manager, the Writer closes itself. After an exception it writes no END chunk, so that no reader takes the
    stream for complete. The file object is never closed.
    """

    def __init__(self, fileobj: BinaryIO, header: Header, chunk_frames: int | None = None, verify: bool = False) -> None:
        """Write the header to `fileobj`.

        `chunk_frames` is the length of every chunk except the last and those ended by `flush`; None: about five seconds.
        With `verify`, every chunk is decoded again before it is written; if its codes differ, RuntimeError is raised.
        """
        chunk_frames = header.default_chunk_frames if chunk_frames is None else chunk_frames
        chunk_frames = whole_number("chunk_frames", chunk_frames, 1, MAX_CHUNK_FRAMES)
        self.header = header
        self.chunk_frames = chunk_frames
        self.n_bytes = 0  # written so far
        self._fileobj, self._verify = fileobj, verify
        self._closed = False
        self._sizes: list[int] = []  # of each chunk, in bytes
        self._chunk_lengths: list[int] = []  # of each chunk, in frames
        self._written_frames = 0
        self._checksum = 0
        self._waiting: list[NDArray[np.uint16]] = []  # blocks [R, t] of the next chunk
        self._waiting_frames = 0
        self._n_codebooks: tuple[int, ...] = ()  # of the waiting blocks
        self._coding: Coding | None = None  # of the waiting blocks: the frames that the prior has already processed
        self._write(header.to_bytes())
        self._header_size = self.n_bytes

    @property
    def n_frames(self) -> int:
        """T so far, including the frames of the chunk that is not full yet."""
        return self._written_frames + self._waiting_frames

    def append(self, codes: ArrayLike, n_codebooks: Sequence[int] | None = None) -> None:
        """Add frames: codes [R, t], any integers in [0, V), for any t.

        `n_codebooks` is the K of each stream, with sum(n_codebooks) == R; None divides R evenly. A change of K starts a
        new chunk. Apart from that, the bytes do not depend on how the frames are split into calls.
        """
        if self.header.segment_length:
            raise ArgumentError("this stream is segmented: use append_segment")
        block, n_codebooks = self._checked(codes, n_codebooks)
        if n_codebooks != self._n_codebooks:
            self._write_waiting(at_least=1)
            self._waiting, self._n_codebooks = [], n_codebooks
        self._waiting.append(block)
        self._waiting_frames += block.shape[1]
        self._write_waiting(at_least=self.chunk_frames)
        self._code_ahead()

    def append_segment(self, codes: ArrayLike, scale: float | None = None, n_codebooks: Sequence[int] | None = None) -> None:
        """Add one segment: codes [R, t] as one chunk, and the scale of its decoded samples, stored as float32."""
        if not self.header.segment_length:
            raise ArgumentError("this stream is not segmented: use append")
        block, n_codebooks = self._checked(codes, n_codebooks)
        self._write_chunk(block, n_codebooks, scale)

    def append_chunk(self, chunk: Chunk) -> None:
        """Add the codes of a chunk of another stream; its frame number there is ignored. In a segmented stream it is a segment.

        A chunk longer than `chunk_frames` is not split, so that a copy does not have many more chunks than its source.
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
        """Write the waiting frames as a chunk now, so that a reader at the other end receives them."""
        self._write_waiting(at_least=1)

    def close(self, n_samples: int | None = None, original_n_samples: int | None = None) -> None:
        """Write the waiting frames and the END chunk.

        A length that is not given is taken from the header; if it is unknown there too, it is the length that all codes
        decode to. Raises FieldError if the lengths do not fit the header or the codes.
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
            raise ArgumentError("the stream is closed")
        array = array_of(codes)
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise ArgumentError(f"codes must be integers [R, t], got {array.dtype} {array.shape}")
        if array.size and (array.min() < 0 or array.max() >= self.header.codebook_size):
            raise ArgumentError(f"codes must be 0 to {self.header.codebook_size - 1}, got {array.min()} to {array.max()}")
        if n_codebooks is None:
            each, rest = divmod(len(array), self.header.n_streams)
            if rest:
                raise ArgumentError(f"{len(array)} rows cannot be divided evenly among {self.header.n_streams} streams")
            n_codebooks = (each,) * self.header.n_streams
        ks = _whole_numbers(n_codebooks)
        if problem := codebooks_problem(ks, self.header):
            raise ArgumentError(problem)
        if sum(ks) != len(array):
            raise ArgumentError(f"codes must have {sum(ks)} rows for K = {ks}, got {len(array)}")
        return array.astype(np.uint16), ks  # a copy, because the caller may reuse its array

    def _code_ahead(self) -> None:
        """Run the prior on the newest waiting frames, so that little work is left when the chunk is full."""
        n_waiting, n_rows = self._waiting_frames, sum(self._n_codebooks)
        if self.header.entropy is Entropy.RAW or not 0 < n_waiting * n_rows <= MAX_PRIOR_CODES:
            return
        self._coding = self._coding or load_prior(self.header).coding(self._n_codebooks)
        block = self._waiting[-1]
        self._coding.push(block[:, block.shape[1] - (n_waiting - self._coding.n_frames) :])

    def _write_waiting(self, at_least: int) -> None:
        """Write chunks while at least `at_least` frames are waiting."""
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
        except BaseException:  # part of it may have been written, so nothing after it would be readable
            self._closed = True
            raise
        self.n_bytes += len(data)


def _whole_numbers(n_codebooks: Sequence[int]) -> tuple[int, ...]:
    """Return the K of each stream. Raises ArgumentError unless they are a sequence of whole numbers."""
    if isinstance(n_codebooks, str) or not hasattr(n_codebooks, "__len__"):
        raise ArgumentError(f"n_codebooks must hold a number for each stream, got {described(n_codebooks)}")
    return tuple(whole_number("n_codebooks", k) for k in n_codebooks)
