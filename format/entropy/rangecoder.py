"""Entropy coder for integer distributions: the range variant of asymmetric numeral systems (Duda 2013).

A symbol of frequency f out of 2**PRECISION costs log2(2**PRECISION / f) bits, to within a few thousandths of a percent.
The whole state is one integer in [LOW, 2**63). No floats are used, so the same distributions give the same bytes on
every machine. Symbols are encoded last to first and decoded first to last.

Bytes: the encoder's last state as 8 bytes, then 32-bit words in the order in which a decoder takes them; all little-endian.
After the last symbol, a decoder's state must be LOW and no word may be left; `decode_all` and `finished` check this.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..jit import kernel

PRECISION = 24  # bits: the frequencies of a distribution add up to 2**PRECISION
TOTAL = 1 << PRECISION
LOW = 1 << 31  # lowest state between two symbols
STATE_BYTES, WORD_BYTES = 8, 4
PLAIN_SYMBOLS = 1 << 18  # up to this number the plain loop takes less time than loading numba and the kernel
_EXCESS = 63 - PRECISION  # a state at or above f << _EXCESS would outgrow 63 bits


def encode(starts: NDArray[np.int64], frequencies: NDArray[np.int64]) -> bytes:
    """Encode n symbols, each given by its interval [start, start + frequency) of [0, TOTAL).

    Raises ValueError if an interval is empty, is the whole range, or lies outside of it.
    """
    starts, frequencies = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(frequencies, np.int64)
    if starts.ndim != 1 or starts.shape != frequencies.shape:
        raise ArgumentError(f"starts and frequencies must be [n], got {starts.shape} and {frequencies.shape}")
    if ((frequencies <= 0) | (frequencies >= TOTAL) | (starts < 0) | (starts > TOTAL - frequencies)).any():
        raise ArgumentError(f"intervals must have 1 to {TOTAL - 1} of {TOTAL} parts, and be inside of 0 to {TOTAL}")
    if starts.size <= PLAIN_SYMBOLS and "numba" not in sys.modules:
        return encode_ref(starts, frequencies)
    words = np.empty(starts.size + 1, np.uint32)
    state, first = _encode(starts, frequencies, words)
    return int(state).to_bytes(STATE_BYTES, "little") + words[first:].astype("<u4").tobytes()


def read_payload(data: bytes | memoryview) -> tuple[int, NDArray[np.uint32]]:
    """Split a payload into its first state and its words; raises ValueError if it cannot be a payload."""
    if len(data) < STATE_BYTES or (len(data) - STATE_BYTES) % WORD_BYTES:
        raise ArgumentError(f"coded payloads take {STATE_BYTES} bytes and a multiple of {WORD_BYTES}, got {len(data)}")
    state = int.from_bytes(data[:STATE_BYTES], "little")
    if not LOW <= state < 1 << 63:
        raise ArgumentError("the first state is out of range")
    return state, np.frombuffer(data, "<u4", offset=STATE_BYTES).astype(np.uint32)


def finished(state: int, n_taken: int, n_words: int) -> bool:
    """Return True if a decoder ended properly: in the state in which encoders begin, with every word taken."""
    return state == LOW and n_taken == n_words


def decode_all(data: bytes | memoryview, tables: NDArray[np.int64], n_symbols: int | None = None) -> NDArray[np.uint16]:
    """Decode n symbols with known distributions: tables [m, V+1] of cumulative frequencies, from 0 to TOTAL.

    Symbol i uses table i mod m; n is `n_symbols`, or m if that is None. Raises ValueError for bytes that no encoder makes
    of such symbols.
    """
    state, words = read_payload(data)
    symbols = np.empty(len(tables) if n_symbols is None else n_symbols, np.uint16)
    state, n_taken = _decode_all(state, words, np.ascontiguousarray(tables, np.int64), symbols)
    if n_taken > len(words) or not finished(state, n_taken, len(words)):
        raise ArgumentError("the payload does not end where its symbols do")
    return symbols


def encode_ref(starts: NDArray[np.int64], frequencies: NDArray[np.int64]) -> bytes:
    """Reference for `encode`, with Python's integers."""
    state, words = LOW, []
    for start, frequency in zip(reversed(starts.tolist()), reversed(frequencies.tolist()), strict=True):
        if state >= frequency << _EXCESS:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // frequency << PRECISION) + state % frequency + start
    return state.to_bytes(STATE_BYTES, "little") + b"".join(word.to_bytes(WORD_BYTES, "little") for word in reversed(words))


def decode_all_ref(data: bytes | memoryview, tables: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Reference for `decode_all`, with Python's integers."""
    state, words = read_payload(data)
    left, symbols = words.tolist(), []
    for table in tables.tolist():
        slot = state & TOTAL - 1
        symbol = max(v for v in range(len(table) - 1) if table[v] <= slot < table[v + 1])
        state = (table[symbol + 1] - table[symbol]) * (state >> PRECISION) + slot - table[symbol]
        if state < LOW:
            if not left:
                raise ArgumentError("the payload does not end where its symbols do")
            state = state << 32 | left.pop(0)
        symbols.append(symbol)
    if not finished(state, 0, len(left)):
        raise ArgumentError("the payload does not end where its symbols do")
    return np.array(symbols, np.uint16)


@kernel
def _encode(starts: NDArray[np.int64], frequencies: NDArray[np.int64], words: NDArray[np.uint32]) -> tuple[int, int]:
    """Fill `words` from its end; return the last state and the index of the first word."""
    state, first = LOW, len(words)
    for i in range(len(starts) - 1, -1, -1):
        frequency, start = frequencies[i], starts[i]
        if state >= frequency << _EXCESS:
            first -= 1
            words[first] = state & 0xFFFFFFFF
            state >>= 32
        quotient = state // frequency
        state = (quotient << PRECISION) + (state - quotient * frequency) + start
    return state, first


@kernel
def _decode_all(
    state: Any, words: NDArray[np.uint32], tables: NDArray[np.int64], symbols: NDArray[np.uint16]
) -> tuple[Any, int]:
    """Decode into `symbols`; return the last state and the number of words taken, len(words) + 1 if there are too few."""
    n_taken, row = 0, 0
    for i in range(len(symbols)):
        table = tables[row]
        row = row + 1 if row + 1 < len(tables) else 0
        slot = state & (TOTAL - 1)
        low, left = 0, len(table) - 1  # the symbol is one of the `left` from `low` on
        while left > 1:
            half = left >> 1
            low += half if table[low + half] <= slot else 0  # no branch: the CPU could not predict it
            left -= half
        symbols[i] = low
        state = (table[low + 1] - table[low]) * (state >> PRECISION) + slot - table[low]
        if state < LOW:
            if n_taken == len(words):
                return state, n_taken + 1
            state = (state << 32) | np.int64(words[n_taken])
            n_taken += 1
    return state, n_taken
