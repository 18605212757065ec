"""WAV, RF64 and BW64: find where the samples start and where they really end.

The length in a header is unreliable: recorders, pipes and files above 4 GiB write 0, all ones, or
the length modulo 2**32. What follows the claimed end decides: the end of the file or another chunk
confirms it; anything else means that the samples continue.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from .channels import speakers_of
from .errors import AudioError, Damage
from .lookahead import LookaheadReader

FORMS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
WRAP = 1 << 32  # lengths in headers are modulo this
MAX_CHUNK = 1 << 24  # bytes of a chunk before the samples that is kept
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
TAIL = bytes.fromhex("000000001000800000aa00389b71")  # last bytes of the GUIDs that contain a format tag
INFO_KEYS = {
    b"INAM": "title", b"IART": "artist", b"IPRD": "album", b"ICRD": "date", b"ITRK": "track", b"IPRT": "track",
    b"ICMT": "comment",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WaveFormat:
    """The contents of the `fmt ` chunk."""

    tag: int  # PCM, FLOAT, or a compressed format
    channels: int
    sample_rate: int  # Hz
    block_align: int  # bytes of one sample of all channels
    bits: int
    mask: int  # speakers, one bit each; 0: unknown
    order: str  # "<" or ">"

    @property
    def dtype(self) -> np.dtype | None:
        """dtype of one sample in memory ("V3" for 24 bits, "S3" big-endian), or None if the samples are compressed."""
        n_bytes = self.block_align // max(self.channels, 1)
        if n_bytes * self.channels != self.block_align or (self.bits + 7) // 8 != n_bytes:
            return None
        kinds = {PCM: {1: "u1", 2: "i2", 3: "V3", 4: "i4"}, FLOAT: {4: "f4", 8: "f8"}}
        code = kinds.get(self.tag, {}).get(n_bytes)
        if code is None:
            return None
        if code == "V3":
            return np.dtype("V3" if self.order == "<" else "S3")
        return np.dtype(code if code == "u1" else self.order + code)


def is_placeholder(size: int) -> bool:
    """Return True if a length is one that writers use while the real one is unknown."""
    return size == 0 or any(0 <= top - size <= 0x2000 for top in (0x7FFFFFFF, 0x80000000 + 0x100, 0xFFFFFFFF))


class Wave:
    """The header of a WAV stream, then its samples as bytes.

    `problem` says what is wrong with the end, once it is reached. Raises AudioError for a stream
    without a format or without samples.
    """

    def __init__(self, stream: LookaheadReader, name: str) -> None:
        self._stream, self._name = stream, name
        self.tags: list[tuple[str, str]] = []
        self.id3 = b""
        self.problem: str | None = None
        self.header = b""  # up to the `data` chunk, rewritten with an unknown length
        form = stream.take(12)
        self._order = ">" if form[:4] == b"RIFX" else "<"
        self._long: int | None = None  # bytes of `data` in a ds64 chunk
        found = self._read_chunks()
        if found is None or self._format is None:
            raise AudioError(f"{name}: a WAV file without {'samples' if self._format else 'a format'}; it may be cut off")
        self.format = self._format
        empty = found == 0 and self._is_chunk(stream.peek(8))  # no samples, followed by another chunk
        self._claimed = None if is_placeholder(found) and not empty else found
        if form[:4] in (b"RF64", b"BW64") and self._long is not None:
            self._claimed = self._long or None
        self.header = (b"RIFX" if self._order == ">" else b"RIFF") + b"\xff" * 4 + b"WAVE" + self.header
        self.header += b"data" + b"\xff" * 4
        self._begin = stream.position
        self._limit = self._claimed  # bytes to read before checking whether there are more
        self._n_read = 0
        self._confirmed = False
        self.n_bytes = self._measure()

    _format: WaveFormat | None = None

    def _read_chunks(self) -> int | None:
        """Read up to the samples; return their claimed size, or None if there are none."""
        while len(head := self._stream.take(8)) == 8:
            kind, size = struct.unpack(f"{self._order}4sI", head)
            if kind == b"data":
                return size
            if size > MAX_CHUNK:
                self._stream.skip(size + (size & 1))
                continue
            body = self._stream.take(size + (size & 1))
            if kind == b"ds64":
                self._long = int.from_bytes(body[8:16], "little")
                continue
            if kind in (b"fmt ", b"fact"):
                self.header += head + body
            self._note(kind, body[:size])
        return None

    def _note(self, kind: bytes, body: bytes) -> None:
        """Keep the format or the tags of a chunk."""
        if kind == b"fmt " and len(body) >= 16:
            self._format = parse_format(body, self._order)
        elif kind == b"LIST" and body[:4] == b"INFO":
            self.tags += info_tags(body[4:], self._order)
        elif kind.lower() == b"id3 ":
            self.id3 = body

    def _measure(self) -> int | None:
        """Return the bytes of samples in a regular file, None on a pipe; also reads the tags after them."""
        if self._stream.size is None:
            return None
        there = self._stream.size - self._begin
        n_bytes = there if self._claimed is None else min(self._claimed, there)
        if self._claimed is not None and there > self._claimed:
            self._stream.skip(self._claimed)
            while not self._ends_here():
                n_bytes = min(n_bytes + WRAP, there)
                self._stream.skip(self._begin + n_bytes - self._stream.position)
            self._read_tail()
        self._stream.rewind(self._begin)
        return n_bytes

    def _read_tail(self) -> None:
        if self._claimed and self._claimed & 1 and not self._is_chunk(self._stream.peek(8)):
            self._stream.skip(1)
        while self._is_chunk(self._stream.peek(8)):
            head = self._stream.take(8)
            kind, size = struct.unpack(f"{self._order}4sI", head)
            if size > MAX_CHUNK:
                return
            self._note(kind, self._stream.take(size + (size & 1))[:size])

    def _ends_here(self) -> bool:
        """Return True if the stream ends here, or continues with something other than samples."""
        ahead = self._stream.peek(12)
        if len(ahead) < 8 or ahead[:3] in (b"TAG", b"ID3"):
            return True
        if ahead[:4] in FORMS and ahead[8:] == b"WAVE":
            self.problem = "another WAV file follows in the same file"
            return True
        odd = self._claimed is not None and self._claimed & 1
        if self._is_chunk(ahead) or (odd and self._is_chunk(ahead[1:])):
            return True
        padding = self._stream.peek(1 << 16)
        return len(padding) < 1 << 16 and not any(padding)

    def _is_chunk(self, head: bytes) -> bool:
        """Return True if 8 bytes at this position look like the start of a chunk: a printable name and a plausible size."""
        if len(head) < 8 or not all(0x20 <= byte < 0x7F for byte in head[:4]) or not head[:4].strip():
            return False
        size: int = struct.unpack(f"{self._order}4xI", head[:8])[0]
        return size <= (1 << 31 if self._stream.size is None else self._stream.size - self._stream.position)

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes of samples, at most `n_bytes`; empty at the end."""
        if self._limit is not None and self._n_read >= self._limit:
            if self._confirmed or self._ends_here():
                self._confirmed = True
                return b""
            self._limit += WRAP
        if self._limit is not None:
            n_bytes = min(n_bytes, self._limit - self._n_read)
        part = self._stream.read(n_bytes)
        self._n_read += len(part)
        if not part and self._limit == self._claimed and self._claimed is not None:
            seconds = self._claimed / max(self.format.block_align, 1) / max(self.format.sample_rate, 1)
            self.problem = f"the header promises {seconds:.3f} s" if self.format.dtype else "cut off"
        elif not part and self._claimed is None and self._has_part_of_a_block():
            self.problem = "cut off in the middle of a block"
        return part

    def _has_part_of_a_block(self) -> bool:
        """Return True if compressed samples end within a block. One byte more than whole blocks may be padding."""
        return self.format.dtype is None and self._n_read % max(self.format.block_align, 1) > 1


class WaveFile:
    """A WAV stream as a file object for FFmpeg: its header with an unknown length, then the output of `Wave.read`."""

    def __init__(self, wave: Wave) -> None:
        self._wave, self._header = wave, wave.header

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, at most `n_bytes`; empty at the end."""
        part, self._header = self._header[:n_bytes], self._header[n_bytes:]
        return part or self._wave.read(n_bytes)


def parse_format(body: bytes, order: str) -> WaveFormat:
    """Parse a `fmt ` chunk of at least 16 bytes."""
    tag, channels, rate, _, align, bits = struct.unpack_from(f"{order}HHIIHH", body)
    mask = 0
    if tag == EXTENSIBLE and len(body) >= 40:
        mask = struct.unpack_from(f"{order}I", body, 20)[0]
        tag = struct.unpack_from(f"{order}H", body, 24)[0] if body[26:40] == TAIL else EXTENSIBLE
    return WaveFormat(tag, channels, rate, align, bits, mask, order)


def info_tags(body: bytes, order: str) -> list[tuple[str, str]]:
    """Return the tags in an INFO list as (key, value); keys may repeat."""
    tags, at = [], 0
    while at + 8 <= len(body):
        kind, size = struct.unpack_from(f"{order}4sI", body, at)
        text = body[at + 8 : at + 8 + size].split(b"\0")[0]
        if kind in INFO_KEYS and text:
            tags.append((INFO_KEYS[kind], _decoded(text)))
        at += 8 + size + (size & 1)
    return tags


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


class PcmReader:
    """Reads the samples of an uncompressed WAV stream."""

    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        form = wave.format
        assert form.dtype is not None
        self._dtype = form.dtype
        self.sample_rate, self.channels = form.sample_rate, form.channels
        self.speakers = speakers_of(form.mask, form.channels)
        self.n_samples = None if wave.n_bytes is None else wave.n_bytes // form.block_align

    @property
    def damage(self) -> Damage | None:
        """What is wrong with the end of the stream, once `read` has reached it."""
        return Damage(self.wave.problem) if self.wave.problem else None

    def read(self, n_samples: int) -> np.ndarray:
        """Return the next samples [C, n] as float32; fewer than `n_samples` only at the end."""
        align = self.wave.format.block_align
        parts, missing = [], n_samples * align
        while missing and (part := self.wave.read(missing)):
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts) if len(parts) > 1 else parts[0] if parts else b""
        return to_float(data[: len(data) - len(data) % align], self._dtype).reshape(-1, self.channels).T


def to_float(data: bytes, dtype: np.dtype) -> np.ndarray:
    """Convert samples in memory to float32 with full scale at 1."""
    if dtype.kind in "VS":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, :: -1 if dtype.kind == "S" else 1]
        return wide.view("<i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)
    numbers = np.frombuffer(data, dtype)
    if dtype.kind == "f":
        return numbers.astype(np.float32)
    if dtype.kind == "u":
        return (numbers.astype(np.float32) - 128) * np.float32(1 / 128)
    return numbers.astype(np.float32) * np.float32(2.0 ** (1 - 8 * dtype.itemsize))
