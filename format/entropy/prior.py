"""The entropy prior: an integer network that predicts the probability of each code from the codes before it.

The codes of a frame depend on the earlier frames of the same chunk, through causal layers with growing dilations. Each
code also depends on the coarser codes of its own frame. All weights are 8-bit integers and all sums exact 32-bit integers,
so every machine computes the same frequencies, which rangecoder.py uses. SPEC.md, section 9, defines the arithmetic.

The encoder knows all codes of a chunk, so it multiplies float32 matrices. float32 holds every integer below 2**24 exactly,
and those integers divided by a power of two: the sums equal those of the decoder's integer kernels, in any order of addition.
Matrices are divided so that a sum, rounded down, is an activation, or the index of an exponential below the largest.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..files import atomic_path
from ..jit import is_cached
from ..schema import MAX_PRIOR_CODES
from . import rangecoder
from .prior_scales import EMBEDDING_SHIFT, HIGHEST_SUM, LARGEST, LIMIT, LOWEST_SUM, RESOLUTION_SHIFT, SHIFT, active

Array = NDArray[Any]

MAX_WIDTH, MAX_LAYERS, MAX_DILATION, MAX_TABLE = 256, 16, 1 << 12, 1 << 12
MAX_TABLE_ENTRY = 1 << 16
MAX_FILE_BYTES = 1 << 28
MAX_HEADER_BYTES = 1 << 16  # of the file of a prior: names, types and shapes of its arrays
GZIP = zlib.MAX_WBITS | 16  # for zlib
COMPRESSED = ".gz"  # ends the name of a compressed file
PIECE = 1 << 16  # bytes of a compressed file that are read at once
KERNELS = Path(__file__).with_name("prior_kernels.py")
BLOCK_FRAMES = 64  # frames per matrix product in the encoder
# Integers are divided by 2 to this power in float32 matrices; by 2**SHIFT if they are not named here.
EXPONENTS = {
    "frame_embedding": SHIFT - EMBEDDING_SHIFT, "book_embedding": SHIFT - EMBEDDING_SHIFT,
    "head_weight": RESOLUTION_SHIFT, "head_bias": RESOLUTION_SHIFT,
}  # fmt: skip
ROUNDED = {"mix_bias", "head_mix_bias"}  # half is added, so that the sums are rounded

LOADING, COMPILING = 1.0, 8.0  # seconds that the kernels take at their first use, from numba's cache and without it
PLAIN_DECODING, PLAIN_ENCODING = 50e-6, 10e-6  # seconds per code in numpy, less those of the kernels
_spent = 0.0  # estimated seconds that this process has computed in numpy

# name -> dtype and shape; K codebooks, V entries, H width, L layers, E table entries
LAYOUT: dict[str, tuple[str, str]] = {
    "frame_embedding": ("int8", "K V H"),  # of the codes of past frames
    "dilations": ("int32", "L"),  # frames
    "mix_now": ("int8", "L H H"),  # [layer, in, out], like all matrices
    "mix_past": ("int8", "L H H"),
    "mix_bias": ("int32", "L H"),
    "out_weight": ("int8", "L H H"),
    "out_bias": ("int32", "L H"),
    "book_embedding": ("int8", "K V H"),  # of the coarser codes of the same frame
    "head_mix": ("int8", "K H H"),
    "head_mix_bias": ("int32", "K H"),
    "head_weight": ("int8", "K H V"),
    "head_bias": ("int32", "K V"),
    "table": ("int32", "E"),  # exponentials, in descending order
}


class Prior:
    """The network that predicts codes; raises ValueError for arrays that do not form one."""

    def __init__(self, arrays: Mapping[str, Array], token_space: bytes) -> None:
        """Check and keep `arrays`, which LAYOUT describes; `token_space` is the SHA-256 of the codebooks it was trained on."""
        _check(arrays)
        self.arrays = {name: np.ascontiguousarray(arrays[name]) for name in LAYOUT}
        self.token_space = token_space
        self.n_codebooks, self.codebook_size, self.width = self.arrays["frame_embedding"].shape
        self.matrix = functools.lru_cache(maxsize=None)(self._as_float)

    @functools.cached_property
    def hash(self) -> bytes:
        """SHA-256 of the arrays in the order of LAYOUT, each preceded by its name, type and shape."""
        digest = hashlib.sha256()
        for name, (dtype, _) in LAYOUT.items():
            array = self.arrays[name]
            digest.update(f"{name} {dtype} {' '.join(map(str, array.shape))}\n".encode())
            digest.update(array.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
        return digest.digest()

    def encode(self, streams: list[NDArray[np.uint16]]) -> bytes:
        """Return the payload of one chunk from the codes [K, T] of each stream; K may differ between streams."""
        coding = self.coding(tuple(map(len, streams)))
        coding.push(np.concatenate(streams))
        return coding.payload()

    def coding(self, n_codebooks: tuple[int, ...]) -> Coding:
        """Start to code a chunk whose codes arrive in blocks; `n_codebooks` is the K of each stream."""
        return Coding(self, n_codebooks)

    def decode(self, payload: bytes | memoryview, n_codebooks: tuple[int, ...], n_frames: int) -> list[NDArray[np.uint16]]:
        """Return the codes [K, T] of each stream, the inverse of `encode`; raises ValueError if no encoder made the bytes."""
        (codes,) = self.decode_parts(payload, n_codebooks, n_frames, n_frames)
        return np.split(codes, np.cumsum(n_codebooks)[:-1])

    def decode_parts(
        self, payload: bytes | memoryview, n_codebooks: tuple[int, ...], n_frames: int, n_first: int
    ) -> Iterator[NDArray[np.uint16]]:
        """Yield the same codes as arrays [R, t], with the codebooks of all streams in order.

        A single stream is yielded in two parts if it has more than `n_first` frames: first these, then the rest. Raises
        ValueError as `decode` does, possibly after the first part.
        """
        if max(n_codebooks) > self.n_codebooks:
            raise ArgumentError(f"the prior is for {self.n_codebooks} codebooks, but the codes have {max(n_codebooks)}")
        if sum(n_codebooks) * n_frames > MAX_PRIOR_CODES:
            raise ArgumentError(f"a chunk coded with a prior holds at most {MAX_PRIOR_CODES} codes")
        state, words = rangecoder.read_payload(payload)
        codes, n_taken, begin = np.zeros((sum(n_codebooks), n_frames), np.uint16), 0, 0
        for rows in np.split(codes, np.cumsum(n_codebooks)[:-1]):
            past = self.no_past()
            for first, stop in _cuts(n_frames, n_first if len(n_codebooks) == 1 else n_frames):
                if len(rows) and n_taken <= len(words):
                    state, n_taken = self._decode(state, words, n_taken, rows, first, stop, past)
                if stop < n_frames and n_taken <= len(words):
                    begin = stop
                    yield codes[:, :stop]
        if not rangecoder.finished(state, n_taken, len(words)):
            raise ArgumentError("the payload does not end where its codes do")
        yield codes[:, begin:]

    def _decode(
        self, state: int, words: Array, n_taken: int, codes: Array, first: int, stop: int, past: Array
    ) -> tuple[int, int]:
        if _is_plain(codes[:, first:stop].size, PLAIN_DECODING, "decode"):
            from . import prior_plain

            return prior_plain.decode(self, state, words, n_taken, codes, first, stop, past)
        from . import prior_kernels as kernels

        get = self.arrays.__getitem__
        tables = get("frame_embedding"), get("book_embedding"), get("table")
        layers = tuple(get(n) for n in ("mix_now", "mix_past", "mix_bias", "out_weight", "out_bias"))
        heads = tuple(get(n) for n in ("head_mix", "head_mix_bias", "head_weight", "head_bias"))
        dilations = get("dilations")
        return kernels.decode(state, words, n_taken, codes, first, stop, past, tables, dilations, layers, heads)

    def no_past(self) -> NDArray[np.int32]:
        """Return the initial state of `prior_kernels.decode`: zeros for the activations of past frames."""
        dilations = self.arrays["dilations"]
        return np.zeros((len(dilations), int(dilations.max(initial=0)) + 1, self.width), np.int32)

    def intervals(self, codes: NDArray[np.uint16], past: Past | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the interval of each code of codes [K, T], frame by frame: start and size, each int64 [T * K].

        `past` is the state after the previous frames of the same chunk; it is updated. None: these are the first frames.
        """
        n_codebooks, n_frames = codes.shape
        find = self._plain_intervals if _is_plain(codes.size, PLAIN_ENCODING, "intervals") else self._kernel_intervals
        starts, sizes = (np.zeros((n_frames, n_codebooks), np.int64) for _ in range(2))
        for first, k, activations in self._head_inputs(codes, past):
            rows = slice(first, first + len(activations))
            starts[rows, k], sizes[rows, k] = find(k, activations, codes[k, rows])
        return starts.ravel(), sizes.ravel()

    def _plain_intervals(self, k: int, activations: NDArray[np.float32], codes: NDArray[np.uint16]) -> tuple[Array, Array]:
        """Return the interval of each of n codes of codebook k, given its head's activations [n, H]: starts and sizes [n]."""
        from . import prior_plain

        return prior_plain.intervals(self._indices(k, activations), codes, self.arrays["table"])

    def _kernel_intervals(self, k: int, activations: NDArray[np.float32], codes: NDArray[np.uint16]) -> tuple[Array, Array]:
        """The same by the compiled kernels, which skip activations of zero: most of them."""
        from . import prior_kernels as kernels

        starts, sizes = np.empty(len(codes), np.int64), np.empty(len(codes), np.int64)
        weights, bias = self.arrays["head_weight"][k], self.arrays["head_bias"][k]
        inputs = activations.astype(np.int32), np.ascontiguousarray(codes)
        kernels.intervals(*inputs, weights, bias, self.arrays["table"], starts, sizes)
        return starts, sizes

    def logits(self, codes: NDArray[np.uint16], past: Past | None = None) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
        """Yield (first frame, codebook, logits int32 [t, V]) for every codebook of every block of frames."""
        for first, k, activations in self._head_inputs(codes, past):
            yield first, k, (self._indices(k, activations) * (1 << RESOLUTION_SHIFT)).astype(np.int32)

    def _indices(self, k: int, activations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of codebook k divided by 2**RESOLUTION_SHIFT [t, V], from its head's activations [t, H]."""
        return activations @ self.matrix("head_weight", k) + self.matrix("head_bias", k)

    def _head_inputs(self, codes: NDArray[np.uint16], past: Past | None) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Yield (first frame, codebook, activations of its head [t, H]) for every codebook of every block of frames."""
        sums = self.contexts(codes, past or Past()) if len(codes) else np.empty((0, self.width), np.float32)
        for first in range(0, codes.shape[1], BLOCK_FRAMES):
            rows = slice(first, first + BLOCK_FRAMES)
            u = sums[rows]
            for k in range(len(codes)):
                hidden = active(u, -LARGEST) @ self.matrix("head_mix", k) + self.matrix("head_mix_bias", k)
                yield first, k, active(hidden, 0)
                u = u + self.matrix("book_embedding", k)[codes[k, rows]]

    def contexts(self, codes: NDArray[np.uint16], past: Past) -> Array:
        """Return the layers' output for each frame, computed from earlier frames: sums [T, H] plus half; update `past`."""
        n_frames = codes.shape[1]
        h = np.full((n_frames, self.width), 0.5, np.float32)
        before = codes if past.codes is None else np.concatenate([past.codes, codes], axis=1)
        for k in range(len(codes)):
            h[n_frames - before.shape[1] + 1 :] += self.matrix("frame_embedding", k)[before[k, :-1]]
        past.codes = before[:, -1:]
        for i, dilation in enumerate(self.arrays["dilations"]):
            a = active(h, -LARGEST)
            hidden = a @ self.matrix("mix_now", i) + self.matrix("mix_bias", i)
            heard = np.concatenate([past.activations[i], a]) if i in past.activations else a
            n_paired = max(len(heard) - dilation, 0)
            hidden[n_frames - n_paired :] += heard[:n_paired] @ self.matrix("mix_past", i)
            past.activations[i] = heard[-dilation:]
            h = h + active(hidden, 0) @ self.matrix("out_weight", i) + self.matrix("out_bias", i)
            np.clip(h, LOWEST_SUM, HIGHEST_SUM, out=h)
        return h

    def _as_float(self, name: str, i: int | EllipsisType) -> NDArray[np.float32]:
        """Return entry i of an array, or all (...), divided by its power of two: `matrix` keeps the results."""
        divided = self.arrays[name][i] * np.float32(0.5 ** EXPONENTS.get(name, SHIFT))
        if name in ROUNDED:
            divided += np.float32(0.5)
        return divided.astype(np.float32, copy=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the prior to a file in the safetensors layout, compressed if its name ends with COMPRESSED."""
        from safetensors.numpy import save

        data = save(self.arrays, {"token_space": self.token_space.hex()})
        if Path(path).suffix == COMPRESSED:  # weights have no repeated strings: to look for some makes the file larger
            packer = zlib.compressobj(9, wbits=GZIP, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
            data = packer.compress(data) + packer.flush()
        with atomic_path(path) as partial:
            partial.write_bytes(data)


@dataclass(slots=True)
class Past:
    """State of a prior for one stream of a chunk, kept from one block of frames to the next."""

    codes: NDArray[np.uint16] | None = None  # [K, 1], the last frame
    activations: dict[int, Array] = field(default_factory=dict)  # layer -> its last `dilation` frames


class Coding:
    """Codes one chunk in blocks: the prior runs on each block as it arrives, so that little work is left at the end."""

    def __init__(self, prior: Prior, n_codebooks: tuple[int, ...]) -> None:
        self._prior, self._n_codebooks = prior, n_codebooks
        self._past = [Past() for _ in n_codebooks]
        self._intervals: list[list[tuple[Array, Array]]] = [[] for _ in n_codebooks]  # of each stream
        self.n_frames = 0  # so far

    def push(self, codes: NDArray[np.uint16]) -> None:
        """Add frames: codes [R, t], the codebooks of the first stream, then those of the second."""
        if codes.shape[1]:
            streams = np.split(codes, np.cumsum(self._n_codebooks)[:-1])
            for rows, past, found in zip(streams, self._past, self._intervals, strict=True):
                found.append(self._prior.intervals(rows, past))
            self.n_frames += codes.shape[1]

    def payload(self) -> bytes:
        """Return the payload of all frames so far. The bytes do not depend on the sizes of the blocks."""
        parts = [part for found in self._intervals for part in found]
        starts, sizes = (np.concatenate([np.empty(0, np.int64), *(part[i] for part in parts)]) for i in (0, 1))
        return rangecoder.encode(starts, sizes)


def read_prior(path: str | os.PathLike[str]) -> Prior:
    """Read a prior from a file, NAME.prior or, compressed, NAME.prior.gz.

    Raises OSError, or ValueError that names the file and what is wrong in it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    try:
        data = _contents(path, MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ArgumentError(f"a prior has at most {MAX_FILE_BYTES} bytes")
        return Prior(load(data), _token_space(data))
    except (
        SafetensorError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # types that numpy lacks
        raise ArgumentError(f"{path} is not a prior: {error}") from None


def read_token_space(path: str | os.PathLike[str]) -> bytes:
    """Return the SHA-256 of the codebooks that a prior in a file was trained on, without the rest; raises as `read_prior`."""
    try:
        return _token_space(_contents(Path(path), MAX_HEADER_BYTES))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArgumentError(f"{path} is not a prior: {error}") from None


def unpacked(path: Path) -> bytes:
    """Return the contents of the file of a prior as if it were not compressed; raises OSError or ValueError."""
    return _contents(path, MAX_FILE_BYTES)


def _contents(path: Path, n_bytes: int) -> bytes:
    """Return at most `n_bytes` from the start of a file, which are unpacked if its name ends with COMPRESSED."""
    with open(path, "rb") as file:
        if path.suffix != COMPRESSED:  # read(n) takes n bytes of memory at once, however short the file is
            return file.read(min(n_bytes, os.fstat(file.fileno()).st_size))
        unpacker, data = zlib.decompressobj(GZIP), bytearray()
        try:
            while len(data) < n_bytes and not unpacker.eof and (part := unpacker.unconsumed_tail or file.read(PIECE)):
                data += unpacker.decompress(part, n_bytes - len(data))
        except zlib.error as error:
            raise ArgumentError(str(error)) from None
    if len(data) < n_bytes and not unpacker.eof:
        raise ArgumentError("the compressed data end too early")
    return bytes(data)


def _token_space(data: bytes) -> bytes:
    """Return the token space that the header of a safetensors file names, or no bytes."""
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= len(data) - 8:
        raise ArgumentError(f"its header would have {size} bytes")
    header = json.loads(data[8 : 8 + size])
    return bytes.fromhex(header.get("__metadata__", {}).get("token_space", ""))


def load_kernels() -> None:
    """Load the compiled kernels, or compile them, so that a stream that goes on for long does not wait for them later."""
    from . import prior_kernels  # noqa: F401


def _is_plain(n_codes: int, seconds: float, name: str) -> bool:
    """Return True if numpy should process these codes, at `seconds` each, because loading the kernel `name` takes longer.

    After a process has spent as long in numpy as the kernels take to load, it uses the kernels.
    """
    global _spent
    if f"{__package__}.prior_kernels" in sys.modules:
        return False
    _spent += n_codes * seconds
    return _spent <= LOADING or (_spent <= COMPILING and not is_cached(KERNELS, name))


def _cuts(n_frames: int, n_first: int) -> list[tuple[int, int]]:
    """Return spans of frames: [0, n_first) and the rest, or a single span for at most `n_first` (>= 1) frames."""
    return [(0, n_first), (n_first, n_frames)] if n_first < n_frames else [(0, n_frames)]


def _check(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError if an array is missing, has a wrong type or shape, or exceeds its limits."""
    sizes: dict[str, int] = {}
    for name, (dtype, axes) in LAYOUT.items():
        if name not in arrays:
            raise ArgumentError(f"{name} is missing")
        array = arrays[name]
        shape = tuple(sizes.setdefault(axis, n) for axis, n in zip(axes.split(), array.shape, strict=False))
        if array.dtype != dtype or array.shape != shape or array.ndim != len(axes.split()):
            raise ArgumentError(f"{name} must be {dtype} [{axes}], got {array.dtype} {list(array.shape)}")
        if array.dtype == np.int8 and array.min(initial=0) < -LARGEST:
            raise ArgumentError(f"{name} must be at least {-LARGEST}")
        if "bias" in name and np.abs(array.astype(np.int64)).max(initial=0) > LIMIT:
            raise ArgumentError(f"{name} must be within {LIMIT}")
    limits = {"K": (1, 255), "V": (2, 1 << 16), "H": (1, MAX_WIDTH), "L": (0, MAX_LAYERS), "E": (1, MAX_TABLE)}
    for axis, (low, high) in limits.items():
        if not low <= sizes[axis] <= high:
            raise ArgumentError(f"{axis} must be {low} to {high}, got {sizes[axis]}")
    table, dilations = arrays["table"], arrays["dilations"]
    if table.min() < 0 or table.max() > MAX_TABLE_ENTRY or table[0] < 1 or (np.diff(table) > 0).any():
        raise ArgumentError(f"table must never rise, start with 1 to {MAX_TABLE_ENTRY}, and have no negative entry")
    if sizes["L"] and not 1 <= dilations.min() <= dilations.max() <= MAX_DILATION:
        raise ArgumentError(f"dilations must be 1 to {MAX_DILATION}")
