"""CRC-32C (Castagnoli), the checksum of headers, chunks and token streams."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed, because bytes are read least significant bit first
PLAIN_BYTES = 4096  # up to this size the plain loop is the faster one

Words = NDArray[np.uint32]


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, continued from `crc`, that of the bytes before it.

    crc32c(b, crc32c(a)) == crc32c(a + b), and crc32c(b"123456789") == 0xE3069283.
    """
    return crc32c_ref(data, crc) if len(data) <= PLAIN_BYTES else _in_lanes(data, crc)


def crc32c_ref(data: bytes | memoryview, crc: int = 0) -> int:
    """Reference for `crc32c`: one byte at a time."""
    table = _plain_table()
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _in_lanes(data: bytes | memoryview, crc: int) -> int:
    """Cut `data` into 2**n lanes, advance all by one byte per step, and join neighbours. Needs four bytes at least.

    A CRC is linear: that of two pieces is the first, advanced by as many zero bytes as the second has, XOR the second. The
    first piece is preceded by zeros, which change nothing, and the CRC so far changes its first bytes.
    """
    n_lanes = 4 << len(data).bit_length() // 2
    padded = np.zeros(-(-len(data) // n_lanes) * n_lanes, np.uint8)
    own = padded[len(padded) - len(data) :]
    own[:] = np.frombuffer(data, np.uint8)
    own[:4] ^= np.frombuffer((crc ^ 0xFFFFFFFF).to_bytes(4, "little"), np.uint8)
    table = np.array(_plain_table(), np.uint32)
    # Beside the lanes go the single bytes of a word, which become the tables of an advance by zeros.
    words = np.concatenate([np.zeros(n_lanes, np.uint32), *(np.arange(256, dtype=np.uint32) << 8 * i for i in range(4))])
    for column in padded.reshape(n_lanes, -1).T.copy():
        words[:n_lanes] ^= column
        words = table[words & 0xFF] ^ (words >> 8)
    lanes, advance = words[:n_lanes], words[n_lanes:].reshape(4, 256)
    while len(lanes) > 1:
        lanes = _advanced(lanes[::2], advance) ^ lanes[1::2]
        advance = _advanced(advance, advance)
    return int(lanes[0]) ^ 0xFFFFFFFF


def _advanced(words: Words, advance: Words) -> Words:
    """Apply a linear map, given by its values [4, 256] for the single bytes of a word."""
    low: Words = advance[0, words & 0xFF] ^ advance[1, words >> 8 & 0xFF]
    high: Words = advance[2, words >> 16 & 0xFF] ^ advance[3, words >> 24]
    return low ^ high


@functools.cache
def _plain_table() -> tuple[int, ...]:
    return tuple(functools.reduce(lambda c, _: (c >> 1) ^ (POLYNOMIAL if c & 1 else 0), range(8), b) for b in range(256))
