"""The original EnCodec's arithmetic coder, bit for bit: codes to bytes and back, using a language model's predictions.

A range [low, high] of integers below 2**(max_bit + 1) is narrowed by each code in the proportions of its distribution. It is
widened by a bit whenever it is below 2**24, and leading bits that both ends share are written. Distributions come from
float32, and products are rounded as IEEE doubles: any other rounding gives another file. Bits fill bytes from the least
significant bit.

Each kernel has a plain reference implementation next to it, in Python's unbounded integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...format.errors import EcdcError
from ...format.jit import kernel

RANGE_BITS = 24
MIN_RANGE = 2  # parts of 2**24 that even an impossible code gets
ROUNDOFF = np.float32(1e-8)  # of probabilities
MAX_BIT = 61  # above this the original fails
BITS_PER_CODE = 64  # more than one code can output, including bits held back before it

Table = NDArray[np.int64]  # [K, V]: end of each code's part of [0, 2**24]


class CoderError(EcdcError, ValueError):
    """Codes cannot be written, or bytes do not come from this encoder."""


def tables(probabilities: NDArray[np.float32]) -> Table:
    """Convert probabilities [K, V] to the coder's table: the end of each code's part of the range.

    Raises CoderError if a probability is NaN.
    """
    n_entries = probabilities.shape[1]
    share = np.float32((1 - MIN_RANGE * n_entries / 2**RANGE_BITS) * 2**RANGE_BITS)
    ends = np.empty(probabilities.shape, np.int64)
    if not _tables(np.ascontiguousarray(probabilities), share, ROUNDOFF, ends):
        raise CoderError("the language model gives no probabilities (NaN)")
    return ends


class Encoder:
    """Writes codes, frame by frame."""

    def __init__(self) -> None:
        self._state = np.array([0, 0, -1], np.int64)  # low, high, max_bit
        self._bits: list[NDArray[np.uint8]] = []

    def push(self, codes: NDArray[np.integer], ends: Table) -> None:
        """Write K codes using their tables [K, V]."""
        bits = np.empty((len(codes) + 1) * BITS_PER_CODE, np.uint8)
        n_bits = _push(self._state, np.ascontiguousarray(codes, np.int64), ends, bits)
        if n_bits < 0:
            raise CoderError("the original's coder cannot write these codes: its range became too narrow")
        self._bits.append(bits[:n_bits])

    def flush(self) -> bytes:
        """Return all bytes; nothing can be written afterwards."""
        low, _, max_bit = self._state.tolist()
        rest = np.array([low >> i & 1 for i in range(max_bit, -1, -1)], np.uint8)
        return np.packbits(np.concatenate([*self._bits, rest]), bitorder="little").tobytes()


class Decoder:
    """Reads codes, frame by frame, from the start of `data`."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._state = np.array([0, 0, -1, 0, 0], np.int64)  # low, high, max_bit, current, bits read

    @property
    def n_bytes(self) -> int:
        """Bytes read so far, including a partly read last one."""
        return -(-int(self._state[4]) // 8)

    def pull(self, ends: Table) -> NDArray[np.int64]:
        """Return the next K codes using their tables [K, V]. Raises EOFError if the data end, CoderError for bad bytes."""
        codes = np.empty(len(ends), np.int64)
        problem = _pull(self._state, self._data, ends, codes)
        if problem == 1:
            raise EOFError("the codes end before their number is reached")
        if problem:
            raise CoderError("no code has these bits")
        return codes


def encode_ref(codes: NDArray[np.integer], all_ends: list[Table]) -> bytes:
    """Reference implementation of Encoder, for codes [K, T] and one table [K, V] per frame."""
    low, high, max_bit = 0, 0, -1
    bits: list[int] = []
    for frame, ends in zip(codes.T.tolist(), all_ends, strict=True):
        for code, row in zip(frame, ends.tolist(), strict=True):
            while high - low + 1 < 1 << RANGE_BITS:
                low, high, max_bit = 2 * low, 2 * high + 1, max_bit + 1
            share = (high - low + 1) / 2**RANGE_BITS
            start = row[code - 1] if code else 0
            low, high = low + math.ceil(start * share), low + math.floor((row[code] - 1) * share)
            while max_bit >= 0 and low >> max_bit == high >> max_bit:
                bit = low >> max_bit
                bits.append(bit)
                low, high, max_bit = low - (bit << max_bit), high - (bit << max_bit), max_bit - 1
            if max_bit > MAX_BIT:
                raise CoderError("the original's coder cannot write these codes")
    bits += [low >> i & 1 for i in range(max_bit, -1, -1)]
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def decode_ref(data: bytes, all_ends: list[Table]) -> NDArray[np.int64]:
    """Reference implementation of Decoder, for one table [K, V] per frame: returns codes [K, T]."""
    bits: Iterator[int] = iter(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").tolist())
    low, high, max_bit, current = 0, 0, -1, 0
    frames = []
    for ends in all_ends:
        frame = []
        for row in ends.tolist():
            while high - low + 1 < 1 << RANGE_BITS:
                bit = next(bits, None)
                if bit is None:
                    raise EOFError
                low, high, max_bit, current = 2 * low, 2 * high + 1, max_bit + 1, 2 * current + bit
            share = (high - low + 1) / 2**RANGE_BITS
            bounds = ((low + math.ceil(a * share), low + math.floor((b - 1) * share)) for a, b in itertools.pairwise([0, *row]))
            code, new = next(((i, new) for i, new in enumerate(bounds) if new[0] <= current <= new[1]), (-1, (0, 0)))
            if code < 0:
                raise CoderError("no code has these bits")
            low, high = new
            while max_bit >= 0 and low >> max_bit == high >> max_bit:
                top = low >> max_bit << max_bit
                low, high, current, max_bit = low - top, high - top, current - top, max_bit - 1
            frame.append(code)
        frames.append(frame)
    return np.array(frames).T


def tables_ref(probabilities: NDArray[np.float32]) -> Table:
    """Reference implementation of `tables`, with numpy's float32."""
    n_entries = probabilities.shape[1]
    share = np.float32((1 - MIN_RANGE * n_entries / 2**RANGE_BITS) * 2**RANGE_BITS)
    rounded = np.floor(probabilities / ROUNDOFF) * ROUNDOFF
    return np.cumsum(np.floor(share * rounded).astype(np.int64) + MIN_RANGE, axis=1)


@kernel
def _tables(probabilities: NDArray[np.float32], share: np.float32, roundoff: np.float32, ends: Table) -> bool:
    for k in range(probabilities.shape[0]):
        total = np.int64(0)
        for v in range(probabilities.shape[1]):
            p = probabilities[k, v]
            if not 0 <= p <= 2:
                return False
            rounded = np.float32(np.floor(p / roundoff)) * roundoff
            total += np.int64(np.floor(share * rounded)) + 2
            ends[k, v] = total
    return True


@kernel
def _push(state: NDArray[np.int64], codes: NDArray[np.int64], ends: Table, bits: NDArray[np.uint8]) -> int:
    low, high, max_bit = state
    n_bits = 0
    for k in range(codes.size):
        while high - low + 1 < 1 << 24:
            if max_bit > 61:
                return -1
            low, high, max_bit = 2 * low, 2 * high + 1, max_bit + 1
        share = np.float64(high - low + 1) / np.float64(1 << 24)
        code = codes[k]
        start = ends[k, code - 1] if code > 0 else 0
        top = low + np.int64(np.floor(np.float64(ends[k, code] - 1) * share))
        low += np.int64(np.ceil(np.float64(start) * share))
        high = top
        while max_bit >= 0 and low >> max_bit == high >> max_bit:
            bit = low >> max_bit
            bits[n_bits] = bit
            n_bits += 1
            low, high, max_bit = low - (bit << max_bit), high - (bit << max_bit), max_bit - 1
        if max_bit > 61:
            return -1
    state[0], state[1], state[2] = low, high, max_bit
    return n_bits


@kernel
def _pull(state: NDArray[np.int64], data: NDArray[np.uint8], ends: Table, codes: NDArray[np.int64]) -> int:
    low, high, max_bit, current, place = state
    for k in range(ends.shape[0]):
        while high - low + 1 < 1 << 24:
            if place >= 8 * data.size:
                return 1
            if max_bit > 61:
                return 2
            bit = np.int64(data[place >> 3] >> (place & 7) & 1)
            place += 1
            low, high, max_bit, current = 2 * low, 2 * high + 1, max_bit + 1, 2 * current + bit
        share = np.float64(high - low + 1) / np.float64(1 << 24)
        first, last = 0, ends.shape[1] - 1
        new_low, new_high = np.int64(0), np.int64(-1)
        while first <= last:
            code = (first + last) // 2
            start = ends[k, code - 1] if code > 0 else 0
            new_low = low + np.int64(np.ceil(np.float64(start) * share))
            new_high = low + np.int64(np.floor(np.float64(ends[k, code] - 1) * share))
            if current < new_low:
                last = code - 1
            elif current > new_high:
                first = code + 1
            else:
                break
        if first > last:
            return 2
        codes[k] = code
        low, high = new_low, new_high
        while max_bit >= 0 and low >> max_bit == high >> max_bit:
            top = low >> max_bit << max_bit
            low, high, current, max_bit = low - top, high - top, current - top, max_bit - 1
    state[0], state[1], state[2], state[3], state[4] = low, high, max_bit, current, place
    return 0
