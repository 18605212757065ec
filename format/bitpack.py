"""Pack codes of a fixed width into bytes, and unpack them.

The codes form one long little-endian integer, with the first code in the least significant bits; the unused high bits of
its last byte are zero. The original `.ecdc` container packs its codes in the same way.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError
from .jit import kernel
from .timing import packed_bytes

MAX_BITS = 16
PLAIN_CODES = 1 << 18  # up to this number numpy takes milliseconds, far less than importing numba


def pack_codes(codes: NDArray[np.uint16], bits: int) -> bytes:
    """Pack codes [n], uint16 in [0, 2**bits), into packed_bytes(n, bits) bytes."""
    _check_bits(bits)
    if codes.ndim != 1 or codes.dtype != np.uint16:
        raise ArgumentError(f"codes must be [n] uint16, got {codes.shape} {codes.dtype}")
    if codes.size and int(codes.max()) >> bits:
        raise ArgumentError(f"codes must be below {1 << bits}, got {int(codes.max())}")
    if _is_plain(codes.size):
        each = np.unpackbits(codes.astype("<u2").view(np.uint8), bitorder="little").reshape(-1, MAX_BITS)
        return np.packbits(each[:, :bits], bitorder="little").tobytes()
    out = np.empty(packed_bytes(codes.size, bits), np.uint8)
    _pack(np.ascontiguousarray(codes), bits, out)
    return out.tobytes()


def unpack_codes(data: bytes | memoryview, n_codes: int, bits: int) -> NDArray[np.uint16]:
    """Unpack `n_codes` codes [n], uint16, from exactly the bytes that pack_codes returns for them.

    Raises ValueError if the length differs or an unused bit is set.
    """
    _check_bits(bits)
    if len(data) != packed_bytes(n_codes, bits):
        raise ArgumentError(f"{n_codes} codes of {bits} bits take {packed_bytes(n_codes, bits)} bytes, got {len(data)}")
    unused = 8 * len(data) - n_codes * bits
    if unused and data[-1] >> (8 - unused):
        raise ArgumentError("the unused bits after the last code are not zero")
    array = np.frombuffer(data, np.uint8)
    if _is_plain(n_codes):
        each = np.zeros((n_codes, MAX_BITS), np.uint8)
        each[:, :bits] = np.unpackbits(array, count=n_codes * bits, bitorder="little").reshape(n_codes, bits)
        return np.packbits(each, bitorder="little").view("<u2").astype(np.uint16)
    codes = np.empty(n_codes, np.uint16)
    array.flags.writeable = False  # one array type, so that numba compiles once
    _unpack(array, bits, codes)
    return codes


def pack_codes_ref(codes: NDArray[np.uint16], bits: int) -> bytes:
    """Reference for pack_codes: the sum that defines it."""
    number = sum(int(code) << (i * bits) for i, code in enumerate(codes))
    return number.to_bytes(packed_bytes(len(codes), bits), "little")


def unpack_codes_ref(data: bytes | memoryview, n_codes: int, bits: int) -> NDArray[np.uint16]:
    """Reference for unpack_codes: the digits of that sum."""
    number = int.from_bytes(data, "little")
    return np.array([(number >> (i * bits)) & ((1 << bits) - 1) for i in range(n_codes)], np.uint16)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise ArgumentError(f"bits must be 1 to {MAX_BITS}, got {bits}")


def _is_plain(n_codes: int) -> bool:
    """Return True if numpy is used, because importing numba would take longer."""
    return n_codes <= PLAIN_CODES and "numba" not in sys.modules


@kernel
def _pack(codes: NDArray[np.uint16], bits: int, out: NDArray[np.uint8]) -> None:
    held, n_held, j = 0, 0, 0  # bits not yet written, their number, bytes written
    for code in codes:
        held |= int(code) << n_held
        n_held += bits
        while n_held >= 8:
            out[j] = held & 0xFF
            held >>= 8
            n_held -= 8
            j += 1
    if n_held:
        out[j] = held


@kernel
def _unpack(data: NDArray[np.uint8], bits: int, codes: NDArray[np.uint16]) -> None:
    held, n_held, j = 0, 0, 0  # bits not yet used, their number, bytes read
    mask = (1 << bits) - 1
    for i in range(len(codes)):
        while n_held < bits:
            held |= int(data[j]) << n_held
            n_held += 8
            j += 1
        codes[i] = held & mask
        held >>= bits
        n_held -= bits
