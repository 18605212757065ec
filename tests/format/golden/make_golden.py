"""Make the streams that every later version must read, and what they must give.

Run it to add the streams that are not there yet. It never changes one that is: that it stays as it was is its purpose.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ecdc.format.chunk import Chunk, build_chunk, codes_checksum, encode_codes
from ecdc.format.entropy.prior import Prior
from ecdc.format.errors import FormatError
from ecdc.format.header import Header, major_version
from ecdc.format.reader import Reader
from ecdc.format.schema import ChannelCoding, Entropy, Provenance
from ecdc.format.trailer import Index, Trailer
from ecdc.format.v0 import MODELS, read_v0, write_v0
from ecdc.format.writer import Writer

HERE = Path(__file__).parent
BASE = {
    "codec": "golden",
    "token_space": hashlib.sha256(b"golden").digest(),
    "sample_rate": 24_000,
    "hop_length": 320,
    "codebook_size": 1024,
    "max_codebooks": 8,
    "original_sample_rate": 44_100,
}
HEADER_FIELDS = [*BASE, "channels", "channel_coding", "segment_length", "segment_stride", "pre_skip", "output_gain"]
HEADER_FIELDS += ["entropy", "provenance", "n_samples", "original_n_samples", "tags"]
STEREO = {"channels": 2, "channel_coding": ChannelCoding.MID_SIDE}


def describe(data: bytes) -> dict[str, object]:
    """What a stream gives, as JSON can hold it: all that must stay the same."""
    try:
        if major_version(data[:5]) == 0:
            found = read_v0(io.BytesIO(data))
            codes = [[codes.tolist(), scale] for codes, scale in found.segments]
            return {"version": 0, "model": found.model_name, "n_samples": found.n_samples, "codes": digest(codes)}
        reader = Reader(io.BytesIO(data))
        chunks = [[c.first_frame, c.n_codebooks, c.codes.tolist(), c.scale] for c in reader]
        lengths = [reader.n_frames, reader.n_samples, reader.original_n_samples]
        header = {name: getattr(reader.header, name) for name in HEADER_FIELDS} | {
            "token_space": reader.header.token_space.hex()
        }
        return {"version": 1, "header": header, "lengths": lengths, "codes": digest(chunks)}
    except FormatError as error:
        return {"error": type(error).__name__, "offset": error.offset}


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def codes(n_rows: int, n_frames: int, codebook_size: int = 1024) -> np.ndarray:
    row, frame = np.ogrid[:n_rows, :n_frames]
    return (frame * 389 + row * 101 + frame * frame * 7) % codebook_size


def v1(n_frames: int = 20, n_rows: int = 2, **changes: object) -> bytes:
    header = Header(**(BASE | changes))
    stream = io.BytesIO()
    with Writer(stream, header, chunk_frames=8) as writer:
        writer.append(codes(n_rows, n_frames, header.codebook_size))
    return stream.getvalue()


def varying() -> bytes:
    stream = io.BytesIO()
    with Writer(stream, Header(**BASE, **STEREO)) as writer:
        for ks in ((4, 2), (1, 0), (0, 0), (2, 2)):
            writer.append(codes(sum(ks), 10), ks)
    return stream.getvalue()


def segmented() -> bytes:
    stream = io.BytesIO()
    header = Header(**(BASE | {"sample_rate": 48_000}), segment_length=4800, segment_stride=4752)
    with Writer(stream, header) as writer:
        for n_frames, scale in ((15, 0.25), (15, 1e-8), (3, 1.5)):
            writer.append_segment(codes(4, n_frames), scale)
        writer.close(10_000, 9188)
    return stream.getvalue()


def unknown_kind() -> bytes:
    header, values = Header(**BASE), codes(2, 16).astype(np.uint16)
    chunks = [
        build_chunk(99, 0x80, 0, b"from a later version"),
        encode_codes(Chunk(0, values[:, :8], (2,)), header, 1),
        build_chunk(98, 0, 2, b""),
        encode_codes(Chunk(8, values[:, 8:], (2,)), header, 3),
    ]
    index = Index.of(len(header.to_bytes()), [len(chunk) for chunk in chunks], [0, 8, 0, 8])
    end = Trailer(5000, 9188, codes_checksum(values), index).to_bytes()
    return b"".join([header.to_bytes(), *chunks, end])


def with_prior() -> bytes:
    from small_prior import SPACE, likely, made

    prior, stream = Prior(made(), SPACE), io.BytesIO()
    changes = {"codebook_size": 17, "max_codebooks": 3, "token_space": SPACE, "prior": prior.hash, "entropy": Entropy.PRIOR}
    with Writer(stream, Header(**(BASE | changes), **STEREO)) as writer:
        for ks, seed in (((3, 1), 1), ((2, 0), 2)):
            writer.append(np.concatenate([likely(prior, (k, 60), seed + k) for k in ks]), ks)
        writer.append(codes(6, 9, 17), (3, 3))
    return stream.getvalue()


def v0(model_name: str, n_samples: int, n_codebooks: int) -> bytes:
    model, stream = MODELS[model_name], io.BytesIO()
    segments = [(codes(n_codebooks, t), 0.5 if model.segment_length else None) for t in model.segment_frames(n_samples)]
    write_v0(stream, model_name, n_samples, segments)
    return stream.getvalue()


STREAMS: dict[str, Callable[[], bytes]] = {
    "v0_24khz": lambda: v0("encodec_24khz", 6720, 8),
    "v0_48khz": lambda: v0("encodec_48khz", 48_000, 4),
    "mono": v1,
    "empty": lambda: v1(n_frames=0),
    "known_length": lambda: v1(n_samples=6000, original_n_samples=11_025),
    "eleven_bits": lambda: v1(codebook_size=2048, hop_length=640, sample_rate=32_000),
    "odd_codebook_size": lambda: v1(codebook_size=1000),
    "one_bit": lambda: v1(codebook_size=2),
    "sixteen_bits": lambda: v1(codebook_size=65_536),
    "left_right": lambda: v1(n_rows=4, channels=2, channel_coding=ChannelCoding.LEFT_RIGHT),
    "joint_six": lambda: v1(channels=6, channel_coding=ChannelCoding.JOINT, pre_skip=100, output_gain=-768),
    "varying_k": varying,
    "segmented": segmented,
    "tagged": lambda: v1(tags=(("title", "Frère Jacques"), ("artist", "a"), ("artist", "b=c"), ("empty", ""))),
    "generated": lambda: v1(
        provenance=Provenance.GENERATED, tags=(("generator", "g"), ("prompt", "slow\npiano"), ("seed", "1"))
    ),
    "unknown_kind": unknown_kind,
    "prior": with_prior,
    "truncated": lambda: v1()[:-60],
    "damaged": lambda: v1().replace(b"\x93\x6b\x01\x00\x01", b"\x93\x6b\x01\x00\x03"),
}


def missing() -> Iterator[tuple[Path, bytes]]:
    for name, make in STREAMS.items():
        path = HERE / f"{name}.ecdc"
        if not path.exists():
            yield path, make()


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    os.environ["ECDC_PRIORS"] = str(HERE)  # small.prior
    expected_path = HERE / "expected.json"
    expected = json.loads(expected_path.read_text()) if expected_path.exists() else {}
    for path, data in missing():
        path.write_bytes(data)
        expected[path.stem] = describe(data)
        print(f"{path.name}: {len(data)} bytes, {expected[path.stem]}")
    expected_path.write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
