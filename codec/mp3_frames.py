"""Information in an MP3 stream that FFmpeg ignores on a pipe or in a truncated file."""

from __future__ import annotations

from dataclasses import dataclass

from .lookahead import LookaheadReader

KBPS = {  # (MPEG-1, layer) -> bitrates by index; not for index 0 ("free") and 15
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
KBPS[False, 3] = KBPS[False, 2]
RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG-1; halved for MPEG-2 and again for 2.5
DECODER_DELAY = 529  # samples
LONGEST_FRAME = 4096  # bytes; also of AAC and AC-3; no frame is all zeros
SMALL_TAG = 2048  # bytes
MARKS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")


def frame_bytes(head: bytes) -> int | None:
    """Return the size of the frame that starts with these 4 bytes, or None if they are not a header of known size."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, index, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    bits = 1000 * KBPS[first, layer][index - 1]
    pad = head[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bits // hertz + pad)
    return (72 if layer == 3 and not first else 144) * bits // hertz + pad


def is_cut(packet: bytes) -> bool:
    """Return True if a packet is shorter than its frame."""
    size = frame_bytes(packet)
    return size is not None and len(packet) < size


class Mp3Stream:
    """An MP3 stream as a file object, without large ID3v2 tags inside it, because pictures in them look like frames.

    Concatenated files have such a tag before each part. FFmpeg skips small tags itself.
    """

    def __init__(self, stream: LookaheadReader) -> None:
        self._stream = stream
        self._waiting = b""  # too few bytes to recognize
        self._drop = self._keep = 0  # remaining bytes of the current tag or frame

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, about `n_bytes` at most; empty at the end."""
        while data := self._stream.read(n_bytes):
            if clean := self._cleaned(self._waiting + data):
                return clean
        rest, self._waiting = self._waiting, b""
        return rest

    def _cleaned(self, data: bytes) -> bytes:
        parts, at = [], 0
        while at < len(data):
            if self._drop:
                step = min(self._drop, len(data) - at)
                self._drop -= step
            elif self._keep:
                step = min(self._keep, len(data) - at)
                self._keep -= step
                parts.append(data[at : at + step])
            elif len(data) - at < 10:
                break
            else:
                self._begin(data, at)
                continue
            at += step
        self._waiting = data[at:]
        return b"".join(parts)

    def _begin(self, data: bytes, at: int) -> None:
        """Decide what starts at `at`: a tag, a frame, or something else up to the next tag or frame."""
        head = data[at : at + 10]
        if head[:3] == b"ID3" and max(head[6:10]) < 0x80:
            tag = 10 + id3_size(head)
            self._drop, self._keep = (tag, 0) if tag > SMALL_TAG else (0, tag)
        elif size := frame_bytes(head):
            self._keep = size
        else:
            found = [place for mark in (b"\xff", b"ID3") if (place := data.find(mark, at + 1)) > 0]
            self._keep = min(found, default=len(data) - 2) - at if found or len(data) - at > 2 else 1


@dataclass(frozen=True, slots=True)
class Gapless:
    """The encoder's own count of the samples to keep."""

    n_samples: int  # per channel, without the encoder's delay and padding
    padding: int  # samples at the end that the encoder added
    n_bytes: int | None = None  # of all frames, if declared


def read_gapless(head: bytes) -> Gapless | None:
    """Read the Xing or Info header in the first frame of an MP3 stream that starts with `head`."""
    for mark in (b"Info", b"Xing"):
        at = head.find(mark, 0, 200)
        flags = int.from_bytes(head[at + 4 : at + 8], "big") if at > 0 else 0
        if flags & 1 and frame_bytes(head):
            break
    else:
        return None
    n_frames = int.from_bytes(head[at + 8 : at + 12], "big")
    lame = at + 12 + (4 if flags & 2 else 0) + (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    pads = int.from_bytes(head[lame + 21 : lame + 24], "big")
    if head[lame : lame + 4] not in (b"LAME", b"Lavf", b"Lavc") or not pads:
        return None
    per_frame = 1152 if head[1] >> 3 & 3 == 3 else 576
    n_bytes = int.from_bytes(head[at + 12 : at + 16], "big") if flags & 2 else None
    return Gapless(n_frames * per_frame - (pads >> 12) - (pads & 0xFFF), pads & 0xFFF, n_bytes or None)


def covers_sound(tag: bytes, after: bytes) -> bool:
    """Return True if an ID3v2 tag claims too much: MP3 frames inside it continue in the bytes `after` it.

    Three consecutive frames of one kind must cross its end, which does not happen in pictures.
    """
    begin = max(0, len(tag) - LONGEST_FRAME)
    data = tag[begin:] + after[: 2 * LONGEST_FRAME]
    end = len(tag) - begin
    for at in range(end):
        places = [at]
        while places[-1] < end and (size := _next_frame(data, places[-1], data[at : at + 3])):
            places.append(places[-1] + size)
        last = places[-1]
        if len(places) > 2 and last >= end and _next_frame(data, last, data[at : at + 3]):
            return True
    return False


def _next_frame(data: bytes, at: int, like: bytes) -> int | None:
    """Return the size of the frame at a position, if it has the version, layer and rate of the header `like`."""
    head = data[at : at + 4]
    if len(head) < 4 or head[:2] != like[:2] or (head[2] ^ like[2]) & 0x0C:
        return None
    return frame_bytes(head)


def id3_size(head: bytes) -> int:
    """Return the bytes of an ID3v2 tag after its 10-byte header."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + (10 if head[5] & 0x10 else 0)
