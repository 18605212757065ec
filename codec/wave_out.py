"""WAV output: 16- and 24-bit integers and floats, RF64 above 4 GiB, files and pipes."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from ..format.bytestream import write_all

LIMIT = 2**32 - 1  # all ones: the length is unknown, or in a ds64 chunk
DS64_SIZE = 28


def wave_header(sample_rate: int, channels: int, n_samples: int | None, bits: str = "16", spare: bool = False) -> bytes:
    """Return the bytes before the samples of a WAV file; RF64 if the file exceeds 4 GiB.

    `n_samples` None means unknown and is written as all ones. With `spare`, there is room to turn the
    header into an RF64 header later; all headers with room have the same size.
    """
    frame_bytes = channels * sample_bytes(bits)
    n_bytes = None if n_samples is None else n_samples * frame_bytes
    form = struct.pack("<HHIIHH", 3 if bits == "float" else 1, channels, sample_rate, sample_rate * frame_bytes, frame_bytes,
                       8 * sample_bytes(bits))  # fmt: skip
    known = None if n_samples is None else min(n_samples, LIMIT)
    chunks = _chunk(b"fmt ", form)
    if bits == "float":
        chunks = _chunk(b"fmt ", form + bytes(2)) + _chunk(b"fact", struct.pack("<I", LIMIT if known is None else known))
    before = len(chunks) + 4 + 8  # WAVE, and the head of the data chunk
    n_padded = None if n_bytes is None else n_bytes + n_bytes % 2
    is_long = n_padded is not None and n_padded + before + 8 + DS64_SIZE > LIMIT
    if is_long:
        assert n_padded is not None and n_samples is not None and n_bytes is not None
        chunks = _chunk(b"ds64", struct.pack("<QQQI", before + 8 + DS64_SIZE + n_padded, n_bytes, n_samples, 0)) + chunks
    elif spare:
        chunks = _chunk(b"JUNK", bytes(DS64_SIZE)) + chunks
    whole = LIMIT if is_long or n_padded is None else 4 + len(chunks) + 8 + n_padded
    data = LIMIT if is_long or n_bytes is None else n_bytes
    return struct.pack("<4sI4s", b"RF64" if is_long else b"RIFF", whole, b"WAVE") + chunks + struct.pack("<4sI", b"data", data)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body


def sample_bytes(bits: str) -> int:
    """Return the bytes of one sample of "16", "24" or "float"."""
    return {"16": 2, "24": 3, "float": 4}[bits]


def to_int16(audio: np.ndarray) -> np.ndarray:
    """Convert floats in [-1, 1) to little-endian 16-bit, rounded; the inverse of dividing by 32768."""
    return np.clip(np.rint(audio * 32768), -32768, 32767).astype("<i2")


def to_int24(audio: np.ndarray) -> np.ndarray:
    """Convert floats in [-1, 1) to 24 bits, rounded, in the upper bytes of little-endian 32-bit integers."""
    return np.clip(np.rint(audio * np.float64(2**23)), -(2**23), 2**23 - 1).astype("<i4") << 8


def to_bytes(frames: np.ndarray, bits: str) -> bytes:
    """Convert floats [n, C] to interleaved little-endian samples; only float output keeps values beyond full scale."""
    if bits == "float":
        return frames.astype("<f4").tobytes()
    if bits == "24":
        return np.ascontiguousarray(to_int24(frames)).view("u1").reshape(-1, 4)[:, 1:].tobytes()
    return to_int16(frames).tobytes()


class WaveEncoder:
    """Writes blocks [n, C] as WAV to a stream at position 0, a file or a pipe.

    A file's header always gives the length that was written; on a pipe it gives `n_samples`.
    """

    def __init__(self, stream: BinaryIO, sample_rate: int, channels: int, n_samples: int | None, bits: str) -> None:
        self._stream, self._told = stream, n_samples
        self._about = sample_rate, channels
        self._bits, self._written = bits, 0
        self._spare = n_samples is None and stream.seekable()
        write_all(stream, self._header(n_samples))

    def _header(self, n_samples: int | None) -> bytes:
        return wave_header(*self._about, n_samples, self._bits, self._spare)

    def write(self, frames: np.ndarray) -> None:
        """Append float32 [n, C]."""
        write_all(self._stream, to_bytes(frames, self._bits))
        self._written += len(frames)

    def close(self) -> None:
        """Complete the file; the stream stays open."""
        if self._written * self._about[1] * sample_bytes(self._bits) % 2:
            write_all(self._stream, b"\0")
        if self._told == self._written or not self._stream.seekable():
            return
        header = self._header(self._written)
        assert len(header) == len(self._header(self._told)), "the length that was told is of another kind of header"
        self._stream.seek(0)
        write_all(self._stream, header)
        self._stream.seek(0, 2)
