"""Packets: a few frames of codes for networks that lose packets. Each can be read without the others (SPEC.md, section 10).

A receiver needs the stream's description, which is a container's header, once. Then every packet can be read by itself. It may
carry a coarse copy of the frames before it, for receivers that lost these.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from .arguments import described
from .bitpack import pack_codes, unpack_codes
from .bytestream import Source
from .chunk import codebooks_problem
from .entropy.installed_priors import load_prior
from .entropy.rangecoder import STATE_BYTES, WORD_BYTES
from .errors import ArgumentError, Corrupt, FormatError, UnsupportedVersion
from .header import Header, read_header
from .schema import MAX_LENGTH, Entropy
from .timing import packed_bytes

MAX_FRAMES = 16  # of a packet
MAX_COPIED_FRAMES = 64
FRAME_NUMBERS = 1 << 16  # first_frame counts modulo this
_KIND, _PRIOR, _COPY = 0x03, 0x04, 0x08  # bits of the first byte
_MIN_STATE_BYTES = 4  # the coder's state is never below 2^31


class PacketKind(IntEnum):
    """What a packet holds: the two lowest bits of its first byte."""

    DESCRIPTION = 0
    FRAMES = 1
    END = 2


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """Consecutive frames, and a coarse copy of those right before them.

    codes [R, T] are as in a Chunk. copied [n_streams * k, t] holds the first k codebooks of every stream; t may be 0.
    """

    first_frame: int  # modulo FRAME_NUMBERS
    codes: NDArray[np.uint16]
    n_codebooks: tuple[int, ...]  # K of each stream
    copied: NDArray[np.uint16]

    @property
    def n_frames(self) -> int:
        return int(self.codes.shape[1])

    def copied_streams(self, n_streams: int) -> tuple[NDArray[np.uint16], ...]:
        """Return the copied codes of each stream, [k, t]."""
        return tuple(np.split(self.copied, n_streams))

    def streams(self) -> tuple[NDArray[np.uint16], ...]:
        """Return the codes of each stream, [K, T]."""
        return tuple(self.codes[a:b] for a, b in pairwise(accumulate(self.n_codebooks, initial=0)))


@dataclass(frozen=True, slots=True)
class End:
    """The end of a stream: the number of the frame after the last one, modulo FRAME_NUMBERS, and the samples in all."""

    next_frame: int
    n_samples: int  # at the codec's rate


def packet_bytes(data: object) -> bytes:
    """Return a packet as bytes. Raises ArgumentError for anything that is no bytes, which no network gives."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ArgumentError(f"a packet must be bytes, got {described(data)}")
    return bytes(data)


def packet_kind(data: bytes) -> PacketKind:
    """Return the kind of a packet from its first byte; raises Corrupt or UnsupportedVersion."""
    if not data:
        raise Corrupt(0, "a packet has at least one byte")
    kind = data[0] & _KIND
    if kind not in (0, 1, 2):
        raise UnsupportedVersion(0, f"packets of kind {kind} are unknown")
    if kind != PacketKind.FRAMES and data[0] & ~_KIND:
        raise UnsupportedVersion(0, f"a packet of kind {kind} has unknown flags {data[0]:#04x}")
    return PacketKind(kind)


def encode_description(header: Header) -> bytes:
    """Return the packet that describes a stream. Its lengths are not sent."""
    return bytes([PacketKind.DESCRIPTION]) + header.to_bytes()


def decode_description(data: bytes) -> Header:
    """Read the packet that describes a stream; raises FormatError."""
    if packet_kind(data) is not PacketKind.DESCRIPTION:
        raise Corrupt(0, "this packet does not describe a stream")
    stream = io.BytesIO(data[1:])
    header = read_header(Source(stream))
    if stream.read(1):
        raise Corrupt(len(data) - 1, "bytes follow the description")
    if header.segment_length:
        raise UnsupportedVersion(1, "packets cannot hold segments")
    return header


def encode_end(end: End) -> bytes:
    """Return the packet that ends a stream."""
    return bytes([PacketKind.END]) + end.next_frame.to_bytes(2, "little") + end.n_samples.to_bytes(8, "little")


def decode_end(data: bytes) -> End:
    """Read the packet that ends a stream; raises FormatError."""
    if packet_kind(data) is not PacketKind.END or len(data) != 11:
        raise Corrupt(0, "this packet does not end a stream: it needs 11 bytes")
    end = End(int.from_bytes(data[1:3], "little"), int.from_bytes(data[3:], "little"))
    if end.n_samples > MAX_LENGTH:
        raise Corrupt(3, f"a stream has at most {MAX_LENGTH} samples, got {end.n_samples}")
    return end


def encode_packet(packet: Packet, header: Header, entropy: Entropy | None = None) -> bytes:
    """Return a packet of frames as bytes, with the smaller payload; `entropy` demands one. Raises ValueError for bad values."""
    _check(packet, header)
    ks, n_copied = packet.n_codebooks, packet.copied.shape[1]
    payload, is_coded = pack_codes(packet.codes.T.ravel(), header.bits), False
    if header.entropy is Entropy.PRIOR and entropy is not Entropy.RAW and packet.codes.size:
        coded = _shortened(load_prior(header).encode(list(packet.streams())))
        if entropy is Entropy.PRIOR or len(coded) < len(payload):
            payload, is_coded = coded, True
    first = PacketKind.FRAMES | (_PRIOR if is_coded else 0) | (_COPY if n_copied else 0) | (packet.n_frames - 1) << 4
    head = bytes([first]) + packet.first_frame.to_bytes(2, "little") + bytes(ks)
    copy = b""
    if n_copied:
        copy = bytes([n_copied, len(packet.copied) // len(ks)]) + pack_codes(packet.copied.T.ravel(), header.bits)
    return head + copy + payload


def decode_packet(data: bytes, header: Header) -> Packet:
    """Read a packet of frames; raises FormatError."""
    if packet_kind(data) is not PacketKind.FRAMES:
        raise Corrupt(0, "this packet holds no frames")
    at = 3 + header.n_streams
    if len(data) < at:
        raise Corrupt(0, f"a packet of frames has at least {at} bytes, got {len(data)}")
    n_frames, ks = (data[0] >> 4) + 1, tuple(data[3:at])
    if problem := codebooks_problem(ks, header):
        raise Corrupt(3, problem)
    copied = np.zeros((0, 0), np.uint16)
    if data[0] & _COPY:
        copied, at = _read_copy(data, at, header)
    try:
        codes = _codes(data[at:], ks, n_frames, bool(data[0] & _PRIOR), header)
        packet = Packet(int.from_bytes(data[1:3], "little"), codes, ks, copied)
        _check(packet, header)
    except ArgumentError as error:
        raise Corrupt(at, str(error)) from None
    return packet


def _codes(payload: bytes, ks: tuple[int, ...], n_frames: int, is_coded: bool, header: Header) -> NDArray[np.uint16]:
    if not is_coded:
        return unpack_codes(payload, sum(ks) * n_frames, header.bits).reshape(n_frames, sum(ks)).T
    if header.entropy is not Entropy.PRIOR or not sum(ks):
        raise ArgumentError("the packet is coded with a prior, but it has no codes or its stream has no prior")
    return np.concatenate(load_prior(header).decode(_restored(payload), ks, n_frames))


def _read_copy(data: bytes, at: int, header: Header) -> tuple[NDArray[np.uint16], int]:
    """Return the copied codes that begin at byte `at`, and where the payload begins."""
    if len(data) < at + 2:
        raise Corrupt(at, "the packet ends inside its copy")
    n_frames, k = data[at], data[at + 1]
    if not 1 <= n_frames <= MAX_COPIED_FRAMES or not 1 <= k <= header.max_codebooks:
        raise Corrupt(at, f"a copy has 1 to {MAX_COPIED_FRAMES} frames of 1 to {header.max_codebooks} codebooks")
    n_rows = k * header.n_streams
    stop = at + 2 + packed_bytes(n_frames * n_rows, header.bits)
    try:
        codes = unpack_codes(data[at + 2 : stop], n_frames * n_rows, header.bits)
    except FormatError as error:
        raise Corrupt(at, error.message) from None
    except ArgumentError as error:
        raise Corrupt(at, f"the copy: {error}") from None
    return codes.reshape(n_frames, n_rows).T, stop


def _shortened(payload: bytes) -> bytes:
    """Drop the zero bytes at the high end of the coder's state. What is left of the size modulo 4 tells how many it has."""
    state, words = payload[:STATE_BYTES], payload[STATE_BYTES:]
    n = len(state.rstrip(b"\0"))
    return state[: STATE_BYTES if n <= _MIN_STATE_BYTES else n] + words


def _restored(payload: bytes) -> bytes:
    n = _MIN_STATE_BYTES + (len(payload) % WORD_BYTES or WORD_BYTES)
    if len(payload) < n:
        raise ArgumentError(f"a payload that is coded with a prior has at least {_MIN_STATE_BYTES + 1} bytes")
    return payload[:n] + bytes(STATE_BYTES - n) + payload[n:]


def _check(packet: Packet, header: Header) -> None:
    """Raise ArgumentError if `header` does not allow a packet."""
    if problem := codebooks_problem(packet.n_codebooks, header):
        raise ArgumentError(problem)
    if not 1 <= packet.n_frames <= MAX_FRAMES or packet.codes.shape[0] != sum(packet.n_codebooks):
        raise ArgumentError(
            f"a packet has 1 to {MAX_FRAMES} frames of {sum(packet.n_codebooks)} codes, got {packet.codes.shape}"
        )
    if not 0 <= packet.first_frame < FRAME_NUMBERS:
        raise ArgumentError(f"first_frame must be below {FRAME_NUMBERS}, got {packet.first_frame}")
    n_rows, n_copied = packet.copied.shape
    if n_copied and (n_rows % header.n_streams or not 1 <= n_rows // header.n_streams <= header.max_codebooks):
        raise ArgumentError(f"a copy has as many codebooks of each stream, at most {header.max_codebooks}, got {n_rows} in all")
    if n_copied > MAX_COPIED_FRAMES:
        raise ArgumentError(f"a copy has at most {MAX_COPIED_FRAMES} frames, got {n_copied}")
    for codes in (packet.codes, packet.copied):
        if codes.size and int(codes.max()) >= header.codebook_size:
            raise ArgumentError(f"codes must be below {header.codebook_size}, got {int(codes.max())}")
