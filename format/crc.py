"""CRC-32C (Castagnoli), the checksum of headers, chunks and token streams."""

from __future__ import annotations

import functools
import sys

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed, because bytes are read least significant bit first
PLAIN_BYTES = 8192  # up to this size the plain loop takes a millisecond, far less than importing numba


def crc32c(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, continued from `crc`, that of the bytes before it.

    crc32c(b, crc32c(a)) == crc32c(a + b), and crc32c(b"123456789") == 0xE3069283.
    """
    if len(data) <= PLAIN_BYTES and "numba" not in sys.modules:
        return crc32c_ref(data, crc)
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False  # one array type, so that numba compiles once
    return int(_crc32c(array, _tables(), crc))


def crc32c_ref(data: bytes | memoryview, crc: int = 0) -> int:
    """Reference for `crc32c`: one byte at a time."""
    table = _plain_table()
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@kernel
def _crc32c(data: NDArray[np.uint8], tables: NDArray[np.int64], crc: int) -> int:
    """Process eight bytes per step: tables[k, b] is the contribution of byte b if k more bytes follow it in the step."""
    crc ^= 0xFFFFFFFF
    whole = len(data) // 8 * 8
    for i in range(0, whole, 8):
        crc = (
            tables[7, (crc ^ int(data[i])) & 0xFF]
            ^ tables[6, ((crc >> 8) ^ int(data[i + 1])) & 0xFF]
            ^ tables[5, ((crc >> 16) ^ int(data[i + 2])) & 0xFF]
            ^ tables[4, (crc >> 24) ^ int(data[i + 3])]
            ^ tables[3, data[i + 4]]
            ^ tables[2, data[i + 5]]
            ^ tables[1, data[i + 6]]
            ^ tables[0, data[i + 7]]
        )
    for i in range(whole, len(data)):
        crc = tables[0, (crc ^ int(data[i])) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@functools.cache
def _plain_table() -> tuple[int, ...]:
    return tuple(functools.reduce(lambda c, _: (c >> 1) ^ (POLYNOMIAL if c & 1 else 0), range(8), b) for b in range(256))


@functools.cache
def _tables() -> NDArray[np.int64]:
    tables = np.empty((8, 256), np.int64)  # signed, because numba turns mixed signs into floats
    tables[0] = _plain_table()
    for k in range(1, 8):
        tables[k] = tables[0][tables[k - 1] & 0xFF] ^ (tables[k - 1] >> 8)
    return tables
