"""CRC-32C (Castagnoli), the checksum of headers, chunks and token streams."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed, because bytes are read least significant bit first
PLAIN_BYTES = 192  # up to this size the plain loop is the faster one
BLOCK_BYTES = 512
BLOCKS_AT_ONCE = 128

Words = NDArray[np.uint32]


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, continued from `crc`, that of the bytes before it.

    crc32c(b, crc32c(a)) == crc32c(a + b), and crc32c(b"123456789") == 0xE3069283.
    """
    return crc32c_ref(data, crc) if len(data) <= PLAIN_BYTES else _in_blocks(data, crc)


def crc32c_ref(data: bytes | memoryview, crc: int = 0) -> int:
    """Reference for `crc32c`: one byte at a time."""
    table = _plain_table()
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _in_blocks(data: bytes | memoryview, crc: int) -> int:
    """Cut `data` into blocks, from its end, and look up what each byte does at its place of a block. Needs four bytes at least.

    A CRC is linear: that of a block is the XOR of those of its bytes. The first block is preceded by zeros, which change
    nothing. The CRC so far changes the first four bytes after it.
    """
    padded = np.zeros(-(-len(data) // BLOCK_BYTES) * BLOCK_BYTES, np.uint8)
    own = padded[len(padded) - len(data) :]
    own[:] = np.frombuffer(data, np.uint8)
    own[:4] ^= np.frombuffer((crc ^ 0xFFFFFFFF).to_bytes(4, "little"), np.uint8)
    table, places = _place_table().ravel(), 256 * np.arange(BLOCK_BYTES)
    first, second, third, fourth = _word_tables()
    state = 0
    for blocks in np.split(padded.reshape(-1, BLOCK_BYTES), range(BLOCKS_AT_ONCE, len(padded) // BLOCK_BYTES, BLOCKS_AT_ONCE)):
        for block in np.bitwise_xor.reduce(table[blocks + places], axis=1).tolist():
            state = block ^ first[state & 0xFF] ^ second[state >> 8 & 0xFF] ^ third[state >> 16 & 0xFF] ^ fourth[state >> 24]
    return state ^ 0xFFFFFFFF


@functools.cache
def _place_table() -> Words:
    """Return the CRCs [BLOCK_BYTES, 256] of blocks with a single byte that is not zero, by its place and value."""
    table = np.array([_plain_table()], np.uint32)
    while len(table) < 4:
        table = np.concatenate([table[:1] >> 8 ^ table[-1, table[:1] & 0xFF], table])
    while len(table) < BLOCK_BYTES:
        # A word that is followed by as many zeros as the table has places acts like four bytes at the first places.
        words = [table[place, table >> 8 * place & 0xFF] for place in range(4)]
        table = np.concatenate([words[0] ^ words[1] ^ words[2] ^ words[3], table])
    return table


@functools.cache
def _word_tables() -> list[list[int]]:
    """Return the first four rows of the table as lists, which are faster to read one by one."""
    rows: list[list[int]] = _place_table()[:4].tolist()
    return rows


@functools.cache
def _plain_table() -> tuple[int, ...]:
    return tuple(functools.reduce(lambda c, _: (c >> 1) ^ (POLYNOMIAL if c & 1 else 0), range(8), b) for b in range(256))
