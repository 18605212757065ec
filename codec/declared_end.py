"""Find where a container file should end according to its header, for formats whose truncation FFmpeg ignores."""

from __future__ import annotations

from collections.abc import Callable

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
ASF_FIXED = 50  # bytes of a data object before its packets
MAX_PARTS = 1 << 20  # parts of a file to examine at most
UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF

ReadAt = Callable[[int, int], bytes]  # position, number of bytes -> bytes, fewer only at the end


def claimed_end(read_at: ReadAt) -> int | None:
    """Return the position in bytes after the last sample that a CAF, AVI, ASF or FLV file declares.

    None for other formats, and for files whose headers do not say. Only headers are read.
    """
    head = read_at(0, 16)
    if head[:4] == b"caff":
        return _end_of_caf(read_at)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _end_of_avi(read_at)
    if head == ASF_HEADER:
        return _end_of_asf(read_at)
    if head[:3] == b"FLV":
        return _end_of_flv(read_at)
    return None


def _end_of_caf(read_at: ReadAt) -> int | None:
    at = 8
    for _ in range(MAX_PARTS):
        head = read_at(at, 12)
        if len(head) < 12:
            return None
        size = int.from_bytes(head[4:], "big")
        at += 12
        if head[:4] == b"data":
            return None if size == UNKNOWN else at + size
        at += size
    return None


def _end_of_avi(read_at: ReadAt) -> int | None:
    """Return the end of the list of samples. Files above 1 GiB have several such lists, each with its own size."""
    at = n_parts = 0
    end: int | None = None
    while (head := read_at(at, 12))[:4] == b"RIFF" and len(head) == 12 and n_parts < MAX_PARTS:
        form_end = at + 8 + int.from_bytes(head[4:8], "little")
        part = at + 12
        is_known = form_end - at - 8 not in (0, 0xFFFFFFFF)
        found = form_end if is_known else None
        while part < form_end and n_parts < MAX_PARTS and len(inner := read_at(part, 12)) == 12:
            n_parts += 1
            size = int.from_bytes(inner[4:8], "little")
            if inner[:4] == b"LIST" and inner[8:] == b"movi" and size not in (0, 0xFFFFFFFF):
                found = part + 8 + size
            part += 8 + size + (size & 1)
        n_parts += 1
        end = found if found is not None else end
        if not is_known:
            break
        at = form_end + (form_end & 1)
    return end


def _end_of_asf(read_at: ReadAt) -> int | None:
    begin = int.from_bytes(read_at(16, 8), "little")
    data = read_at(begin, ASF_FIXED)
    size = int.from_bytes(data[16:24], "little")
    return begin + size if data[:16] == ASF_DATA and size > ASF_FIXED else None


def _end_of_flv(read_at: ReadAt) -> int | None:
    """Return the end of the last part. A part whose size is not repeated after it is damaged: UNKNOWN, beyond any file."""
    at = int.from_bytes(read_at(5, 4), "big") + 4
    for _ in range(MAX_PARTS):
        head = read_at(at, 11)
        if not head:
            return at
        size = 11 + int.from_bytes(head[1:4], "big")
        behind = read_at(at + size, 4)
        if len(head) < 11 or len(behind) < 4:
            return at + max(size, 11) + 4
        if int.from_bytes(behind, "big") not in (size, size - 11, 0):  # some writers do not count the head
            return UNKNOWN
        at += size + 4
    return None
