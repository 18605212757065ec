"""A second reader of version 1 streams, written from format/SPEC.md alone, with nothing but the standard library.

It shares no code with ecdc and takes every shortcut that speed would forbid: where the two disagree, one of them or the
document is wrong.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import struct
from typing import Any

HEADER = "<4sBBH II BBBB IIIII hBB QQ 32s"
HEADER_FIELDS = [
    "magic", "major", "minor", "header_size", "sample_rate", "original_sample_rate", "channels", "n_streams",
    "channel_coding", "max_codebooks", "codebook_size", "hop_length", "segment_length", "segment_stride", "pre_skip",
    "output_gain", "entropy", "provenance", "n_samples", "original_n_samples", "token_space",
]  # fmt: skip
LIMITS = {
    "major": (1, 1), "sample_rate": (1, 2**24), "original_sample_rate": (1, 2**24), "channels": (1, 255), "n_streams": (1, 2),
    "channel_coding": (0, 3), "max_codebooks": (1, 255), "codebook_size": (2, 65_536), "hop_length": (1, 2**24),
    "segment_length": (0, 2**24), "segment_stride": (0, 2**24), "entropy": (0, 1), "provenance": (0, 1),
}  # fmt: skip
UNKNOWN = 2**64 - 1
CHUNK = "<4sBBII"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class Refused(Exception):
    """The bytes are not a whole stream of version 1."""


def must(condition: object, what: str) -> None:
    if not condition:
        raise Refused(what)


def table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # 0x1EDC6F41, reflected
    return byte


TABLE = [table_entry(byte) for byte in range(256)]


def crc(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


class Bytes:
    """What is left of some bytes, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        must(size <= len(self.data), f"{size} bytes are needed, {len(self.data)} remain")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def sized(self, layout: str) -> bytes:
        return self.take(self.unpack(layout)[0])


def read(data: bytes, prior: Prior | None = None) -> tuple[dict[str, Any], dict[str, int], list[dict[str, Any]]]:
    """The header, the END chunk's lengths and the CODES chunks of a whole stream, or Refused; `prior` is its prior, if any."""
    header = read_header(data)
    must(header["entropy"] == 0 or (prior and prior.hash == header["prior"]), "the prior")
    chunks, sizes, all_codes, offset = [], [], [], header["header_size"]
    while True:
        rest = Bytes(data[offset:])
        sync, kind, flags, sequence, body_size = rest.unpack(CHUNK)
        must(sync == bytes.fromhex("ecdc936b"), "sync")
        must(sequence == len(sizes), "sequence")
        must(body_size <= 8_389_632 + (6 * sequence if kind == 2 else 0), "body_size")
        body = rest.take(body_size)
        must(rest.unpack("<I")[0] == crc(data[offset : offset + 14 + body_size]), "a chunk's CRC")
        if kind == 2:
            must(flags == 0 and not rest.data, "END")
            return header, read_end(body, header, sizes, offset, all_codes), chunks
        n_frames = 0
        if kind == 1:
            chunks.append(read_codes(Bytes(body), flags, header, prior))
            must(chunks[-1]["first_frame"] == sum(frames for _, frames in sizes), "first_frame")
            n_frames = len(chunks[-1]["codes"])
            all_codes += [code for frame in chunks[-1]["codes"] for code in frame]
        sizes.append((18 + body_size, n_frames))
        offset += 18 + body_size


def read_header(data: bytes) -> dict[str, Any]:
    rest = Bytes(data)
    must(rest.take(4) == b"ECDC", "magic")
    must(rest.take(1) == b"\1", "major")
    size = struct.unpack("<H", Bytes(data).take(8)[6:])[0]
    must(96 <= size <= len(data), "header_size")
    must(struct.unpack("<I", data[size - 4 : size])[0] == crc(data[: size - 4]), "the header's CRC")
    rest = Bytes(data[: size - 4])
    header = dict(zip(HEADER_FIELDS, rest.unpack(HEADER), strict=True))
    for field, (low, high) in LIMITS.items():
        must(low <= header[field] <= high, field)
    header["codec"] = text(rest.sized("<B"))
    header["prior"] = rest.sized("<B")
    tags = [rest.sized("<H") for _ in range(rest.take(1)[0])]
    must(
        header["codec"] and not CONTROL.search(header["codec"]) and len(header["prior"]) == 32 * header["entropy"],
        "codec or prior",
    )
    header["tags"] = [read_tag(tag) for tag in tags]
    coding = header["channel_coding"]
    must(header["n_streams"] == (1, 2, 2, 1)[coding], "n_streams")
    must(coding == 3 or header["channels"] == header["n_streams"], "channels")
    length, stride = header["segment_length"], header["segment_stride"]
    must(1 <= stride <= length if length else stride == 0, "segment_stride")
    must(math.ceil(length / header["hop_length"]) <= 65_535, "segment_length")
    for field in ("n_samples", "original_n_samples"):
        header[field] = None if header[field] == UNKNOWN else header[field]
        must((header[field] or 0) <= 2**48, field)
    both_known = None not in (header["n_samples"], header["original_n_samples"])
    if both_known:
        check_rates(header, header["n_samples"], header["original_n_samples"])
    return header


def check_rates(header: dict[str, Any], n_samples: int, original_n_samples: int) -> None:
    rate, original_rate = header["sample_rate"], header["original_sample_rate"]
    must(rate != original_rate or n_samples == original_n_samples, "equal rates")
    must(original_n_samples <= -(-n_samples * original_rate // rate), "original_n_samples")


def text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused("text that is not UTF-8") from None


def read_tag(tag: bytes) -> tuple[str, str]:
    key, equals, value = text(tag).partition("=")
    must(key and equals and not CONTROL.search(key), "a tag")
    return key, value


def read_codes(body: Bytes, flags: int, header: dict[str, Any], prior: Prior | None) -> dict[str, Any]:
    """Codes as a list of frames, each of them R codes."""
    must(flags == 0 or (flags == 1 and header["segment_length"]), "flags")
    first_frame, n_frames, entropy = body.unpack("<QHB")
    n_codebooks = tuple(body.take(header["n_streams"]))
    scale = body.unpack("<f")[0] if flags else None
    must(scale is None or (math.isfinite(scale) and scale > 0), "scale")
    must(first_frame <= 2**48 and n_frames >= 1 and entropy in (0, header["entropy"]), "a CODES chunk's fields")
    must(max(n_codebooks) <= header["max_codebooks"] and n_frames * sum(n_codebooks) <= 2**22, "K")
    must(not header["segment_length"] or n_frames <= math.ceil(header["segment_length"] / header["hop_length"]), "a segment")
    rows, bits = sum(n_codebooks), math.ceil(math.log2(header["codebook_size"]))
    if entropy:
        must(n_frames * rows <= 2**18, "too many codes for a prior")
        codes = prior.codes(body, n_codebooks, n_frames)
        return {"first_frame": first_frame, "n_codebooks": n_codebooks, "scale": scale, "codes": codes}
    must(len(body.data) == math.ceil(n_frames * rows * bits / 8), "the size of a payload")
    number = int.from_bytes(body.data, "little")
    flat = [number >> (i * bits) & ((1 << bits) - 1) for i in range(n_frames * rows)]
    must(number >> (n_frames * rows * bits) == 0, "unused bits")
    must(all(code < header["codebook_size"] for code in flat), "a code")
    codes = [flat[t * rows : (t + 1) * rows] for t in range(n_frames)]
    return {"first_frame": first_frame, "n_codebooks": n_codebooks, "scale": scale, "codes": codes}


def read_end(
    body: bytes, header: dict[str, Any], sizes: list[tuple[int, int]], offset: int, codes: list[int]
) -> dict[str, int]:
    must(len(body) >= 24 and struct.unpack("<I", body[-4:])[0] == len(body) + 18, "end_size")
    rest = Bytes(body[:-4])
    n_samples, original_n_samples, checksum = rest.unpack("<QQI")
    must([rest.unpack("<IH") for _ in sizes] == sizes, "the index")
    must(checksum == crc(struct.pack(f"<{len(codes)}H", *codes)), "checksum")
    must(header["n_samples"] in (None, n_samples) and header["original_n_samples"] in (None, original_n_samples), "lengths")
    must(max(n_samples, original_n_samples) <= 2**48, "lengths")
    check_rates(header, n_samples, original_n_samples)
    frames = [n_frames for _, n_frames in sizes if n_frames]
    reach = sum(frames) * header["hop_length"]
    if header["segment_length"] and frames:
        reach = (len(frames) - 1) * header["segment_stride"] + frames[-1] * header["hop_length"]
    must(n_samples == 0 or header["pre_skip"] + n_samples <= reach, "the codes end before the audio")
    return {"n_frames": sum(frames), "n_samples": n_samples, "original_n_samples": original_n_samples}


def read_packet(data: bytes, header: dict[str, Any], prior: Prior | None = None) -> dict[str, Any]:
    """A packet of frames: codes as R lists of T, the copy as a list of frames."""
    packet = Bytes(data)
    (first,) = packet.unpack("<B")
    must(first & 3 == 1, "the kind")
    (first_frame,) = packet.unpack("<H")
    n_frames, ks, bits = (first >> 4) + 1, tuple(packet.take(header["n_streams"])), header["bits"]
    must(max(ks) <= header["max_codebooks"], "K")
    copied: list[list[int]] = []
    if first & 8:
        n_copied, k = packet.unpack("<BB")
        must(1 <= n_copied <= 64 and 1 <= k <= header["max_codebooks"], "the copy")
        rows = k * header["n_streams"]
        copied = raw_frames(packet.take(math.ceil(n_copied * rows * bits / 8)), n_copied, rows, header)
    if first & 4:
        must(prior is not None and sum(ks), "a prior, and something to code")
        rest = packet.data
        size = 4 + (len(rest) % 4 or 4)
        must(len(rest) >= size, "the state")
        assert prior is not None
        frames = prior.codes(Bytes(rest[:size] + bytes(8 - size) + rest[size:]), ks, n_frames)
    else:
        frames = raw_frames(packet.data, n_frames, sum(ks), header)
    codes = [[frame[row] for frame in frames] for row in range(sum(ks))]
    return {"first_frame": first_frame, "n_codebooks": ks, "codes": codes, "copied": copied}


def raw_frames(data: bytes, n_frames: int, rows: int, header: dict[str, Any]) -> list[list[int]]:
    bits = header["bits"]
    must(len(data) == math.ceil(n_frames * rows * bits / 8), "the size of a payload")
    number = int.from_bytes(data, "little")
    flat = [number >> (i * bits) & ((1 << bits) - 1) for i in range(n_frames * rows)]
    must(number >> (n_frames * rows * bits) == 0, "unused bits")
    must(all(code < header["codebook_size"] for code in flat), "a code")
    return [flat[t * rows : (t + 1) * rows] for t in range(n_frames)]


class Prior:
    """An entropy prior, from the bytes of its file."""

    NAMES = (
        "frame_embedding", "dilations", "mix_now", "mix_past", "mix_bias", "out_weight", "out_bias", "book_embedding",
        "head_mix", "head_mix_bias", "head_weight", "head_bias", "table",
    )  # fmt: skip

    def __init__(self, file: bytes) -> None:
        size = struct.unpack("<Q", file[:8])[0]
        about, data, digest = json.loads(file[8 : 8 + size]), file[8 + size :], hashlib.sha256()
        self.arrays: dict[str, Any] = {}
        for name in self.NAMES:
            shape, (start, stop) = about[name]["shape"], about[name]["data_offsets"]
            kind, letter = {"I8": ("int8", "b"), "I32": ("int32", "i")}[about[name]["dtype"]]
            digest.update(f"{name} {kind} {' '.join(map(str, shape))}\n".encode() + data[start:stop])
            self.arrays[name] = nested(struct.unpack(f"<{math.prod(shape)}{letter}", data[start:stop]), shape)
        self.hash = digest.digest()

    def codes(self, payload: Bytes, n_codebooks: tuple[int, ...], n_frames: int) -> list[list[int]]:
        """Codes as a list of frames, the streams of each one after the other."""
        self.payload = payload
        (self.state,) = payload.unpack("<Q")
        must(2**31 <= self.state < 2**63 and len(payload.data) % 4 == 0, "the first state")
        streams = [self.stream(k, n_frames) for k in n_codebooks]
        must(self.state == 2**31 and not payload.data, "the last state")
        return [list(itertools.chain(*(stream[t] for stream in streams))) for t in range(n_frames)]

    def stream(self, n_codebooks: int, n_frames: int) -> list[list[int]]:
        a, frames, past = self.arrays, [], []
        for _ in range(n_frames if n_codebooks else 0):
            h = [0] * len(a["frame_embedding"][0][0])
            for k, code in enumerate(frames[-1] if frames else []):
                h = [x + 16 * y for x, y in zip(h, a["frame_embedding"][k][code], strict=True)]
            past.append([])
            for layer, dilation in enumerate(a["dilations"]):
                past[-1].append([q(x, -127) for x in h])
                m = plus(a["mix_bias"][layer], product(past[-1][layer], a["mix_now"][layer]))
                if len(past) > dilation:
                    m = plus(m, product(past[-1 - dilation][layer], a["mix_past"][layer]))
                h = plus(plus(h, a["out_bias"][layer]), product([q(x, 0) for x in m], a["out_weight"][layer]))
                h = [min(max(x, -(2**20)), 2**20) for x in h]
            frames.append([])
            for k in range(n_codebooks):
                g = plus(a["head_mix_bias"][k], product([q(x, -127) for x in h], a["head_mix"][k]))
                code = self.take(plus(a["head_bias"][k], product([q(x, 0) for x in g], a["head_weight"][k])))
                frames[-1].append(code)
                h = [x + 16 * y for x, y in zip(h, a["book_embedding"][k][code], strict=True)]
        return frames or [[] for _ in range(n_frames)]

    def take(self, z: list[int]) -> int:
        table, best = self.arrays["table"], z.index(max(z))
        w = [table[min((z[best] - value) >> 5, len(table) - 1)] for value in z]
        r = ((2**24 - len(z)) * 2**28) // sum(w)
        f = [1 + (value * r >> 28) for value in w]
        f[best] += 2**24 - sum(f)
        slot, start, code = self.state % 2**24, 0, 0
        while slot >= start + f[code]:
            start, code = start + f[code], code + 1
        self.state = f[code] * (self.state >> 24) + slot - start
        if self.state < 2**31:
            self.state = self.state << 32 | self.payload.unpack("<I")[0]
        return code


def nested(flat: tuple[int, ...], shape: list[int]) -> Any:
    if len(shape) == 1:
        return list(flat)
    size = math.prod(shape[1:])
    return [nested(flat[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]


def q(x: int, low: int) -> int:
    return min(max((x + 32) >> 6, low), 127)


def plus(x: list[int], y: list[int]) -> list[int]:
    return [a + b for a, b in zip(x, y, strict=True)]


def product(x: list[int], matrix: list[list[int]]) -> list[int]:
    return [sum(a * b for a, b in zip(x, column, strict=True)) for column in zip(*matrix, strict=True)]
