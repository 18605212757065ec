"""Read and write Meta's original container (version 0): the codes of encodec_24khz and encodec_48khz.

The layout: magic, version u8, JSON size u32; the JSON object {"m": model, "al": samples, "nc": K, "lm": entropy coded};
then for each segment a float32 scale, if the model normalises, and its codes [K, T], time-major, bit-packed and padded to
whole bytes. If "lm" is true, the codes are instead coded with the model's language model and arithmetic coder
(ecdc.codec.compat); such files are only reliable on the machine that wrote them. Numbers are big-endian and there is no
checksum. Frame counts are not stored, so they must be computed exactly.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import construct as con
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bitpack import pack_codes, unpack_codes
from .bytestream import PIECE, Source, write_all
from .errors import ArgumentError, Corrupt, FormatError, OverLimit, Truncated, UnsupportedVersion
from .header import major_version
from .schema import MAGIC, MAX_LENGTH, scale_problem
from .timing import frames_for, packed_bytes, segment_spans

BITS = 10  # per code: both models have 1024 entries in a codebook
MAX_JSON = 4096  # bytes; the reference implementation writes about 60
MAX_CODED_BYTES = 4  # per entropy-coded code: the least likely one takes 23 bits
MAX_CODES_PER_BYTE = 8192  # in entropy-coded files: near-certain codes cost almost no bits, but audio never has hours of them

PREFIX = con.Struct("magic" / con.Const(MAGIC), "version" / con.Const(0, con.Int8ub), "json_size" / con.Int32ub)
SCALE = con.Float32b


@dataclass(frozen=True, slots=True)
class V0Model:
    """Properties of a model, which a v0 file does not store: it has only the model's name."""

    sample_rate: int  # Hz
    channels: int
    hop_length: int  # samples per frame
    max_codebooks: int
    segment_length: int = 0  # samples; 0: the audio is one segment, without a scale
    segment_stride: int = 0

    def segment_frames(self, n_samples: int) -> Iterator[int]:
        """Yield the number of frames of each segment of audio with `n_samples` samples."""
        spans = segment_spans(n_samples, self.segment_length, self.segment_stride)
        return (frames_for(stop - start, self.hop_length) for start, stop in spans)

    def n_frames(self, n_samples: int) -> int:
        """Return T of all segments together, in constant time."""
        if not self.segment_length or n_samples < self.segment_length:
            return sum(self.segment_frames(n_samples))
        n_full = (n_samples - self.segment_length) // self.segment_stride + 1
        return n_full * frames_for(self.segment_length, self.hop_length) + sum(
            frames_for(n_samples - start, self.hop_length)
            for start in range(n_full * self.segment_stride, n_samples, self.segment_stride)
        )


MODELS = {
    "encodec_24khz": V0Model(24_000, 1, 320, 32),
    "encodec_48khz": V0Model(48_000, 2, 320, 16, segment_length=48_000, segment_stride=47_520),
}


class SegmentCoder(Protocol):
    """An entropy coder of whole segments, such as ecdc.codec.compat.lm.LanguageModel."""

    n_codebooks: int  # of the codec model that it was trained for

    def encode(self, codes: NDArray[Any]) -> bytes:
        """Encode codes [K, T] to bytes; raises ValueError if the coder cannot represent them."""

    def decode(self, data: memoryview, n_codebooks: int, n_frames: int) -> tuple[NDArray[np.uint16], int]:
        """Decode codes [K, T] from the start of `data`; return them and the bytes used. Raises EOFError or ValueError."""


Segment = tuple[NDArray[np.uint16], float | None]  # codes [K, T] and scale


@dataclass(frozen=True, slots=True, eq=False)
class V0File:
    """Contents of a v0 file."""

    model_name: str
    n_samples: int  # at the model's rate
    n_codebooks: int  # K
    segments: list[Segment]
    n_bytes: int = 0  # size of the file that it was read from
    entropy_coded: bool = False  # by the language model

    @property
    def model(self) -> V0Model:
        return MODELS[self.model_name]

    @property
    def n_frames(self) -> int:
        """T of all segments together."""
        return self.model.n_frames(self.n_samples)


def write_v0(
    fileobj: BinaryIO,
    model_name: str,
    n_samples: int,
    segments: Sequence[tuple[ArrayLike, float | None]],
    coder: SegmentCoder | None = None,
) -> None:
    """Write a v0 file, byte for byte as the reference implementation does; with `coder`, entropy coded.

    Each segment is its codes [K, T], integers in [0, 1024), and its scale, or None if the model has no scales. Raises
    ValueError if the number or lengths of the segments do not fit `n_samples`.
    """
    if model_name not in MODELS:
        raise ArgumentError(f"model must be one of {', '.join(MODELS)}, got {model_name!r}")
    model = MODELS[model_name]
    blocks = [(np.asarray(codes), scale) for codes, scale in segments]
    shapes = [codes.shape for codes, _ in blocks]
    n_codebooks = shapes[0][0] if shapes and len(shapes[0]) == 2 else 0
    if not 1 <= n_codebooks <= model.max_codebooks:
        raise ArgumentError(f"codes must be [K, T] with K from 1 to {model.max_codebooks}, got {shapes[:1]}")
    wanted = [(n_codebooks, n_frames) for n_frames in model.segment_frames(n_samples)]
    if shapes != wanted:
        raise ArgumentError(f"{n_samples} samples have segments of {wanted[:3]}... codes, got {shapes[:3]}...")
    _check_coder(coder, model_name)
    about = {"m": model_name, "al": n_samples, "nc": n_codebooks, "lm": coder is not None}
    text = json.dumps(about).encode()  # with Python's default separators, as in the reference implementation
    head = PREFIX.build({"json_size": len(text)}) + text
    write_all(fileobj, b"".join([head, *(_segment_bytes(model, codes, scale, coder) for codes, scale in blocks)]))


def read_v0(fileobj: BinaryIO, coder: SegmentCoder | None = None) -> V0File:
    """Read a v0 file to its end.

    Raises FormatError; UnsupportedVersion if the file needs a language model and `coder` is None; ValueError if `coder`
    is for another codec.
    """
    with _without_advice():
        source = Source(fileobj)
        about = _read_about(source)
        if about["lm"] and coder is None:
            what = "the codes are entropy coded by EnCodec's language model"
            raise UnsupportedVersion(source.offset, f"{what}: convert the file with its weights first (ecdc convert --lm FILE)")
        return _read_rest(source, about, coder)


def scan_v0(fileobj: BinaryIO) -> V0File:
    """Read a v0 file like read_v0, but skip codes that need a language model; `segments` is then empty."""
    with _without_advice():
        source = Source(fileobj)
        about = _read_about(source)
        if not about["lm"]:
            return _read_rest(source, about, None)
        first = source.offset
        while source.read_up_to(PIECE):
            pass
        _check_coded_size(about, source.offset - first, first)
        return V0File(about["m"], about["al"], about["nc"], [], source.offset, entropy_coded=True)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Remove the advice from errors: without checksums, no part of a version 0 file can be salvaged."""
    try:
        yield
    except FormatError as error:
        error.advice = ""
        raise


def _check_coded_size(about: dict[str, Any], n_bytes: int, offset: int) -> None:
    """Raise OverLimit if `n_bytes` entropy-coded bytes cannot hold the codes of the stated length."""
    n_codes = about["nc"] * MODELS[about["m"]].n_frames(about["al"])
    if n_codes > MAX_CODES_PER_BYTE * (n_bytes + 1):
        raise OverLimit(offset, f"{n_bytes} bytes cannot hold {n_codes} codes")


def _read_rest(source: Source, about: dict[str, Any], coder: SegmentCoder | None) -> V0File:
    model = MODELS[about["m"]]
    if about["lm"]:
        assert coder is not None
        _check_coder(coder, about["m"])
        segments = _read_coded(source, about, coder)
    else:
        segments = [_read_segment(source, model, about["nc"], n_frames) for n_frames in model.segment_frames(about["al"])]
    if not source.at_end():
        raise Corrupt(source.offset - 1, "bytes follow the last segment")
    return V0File(about["m"], about["al"], about["nc"], segments, source.offset, about["lm"])


def _check_coder(coder: SegmentCoder | None, model_name: str) -> None:
    if coder is not None and coder.n_codebooks != MODELS[model_name].max_codebooks:
        wanted = MODELS[model_name].max_codebooks
        raise ArgumentError(f"{model_name} needs a language model of {wanted} codebooks; this one has {coder.n_codebooks}")


def _read_coded(source: Source, about: dict[str, Any], coder: SegmentCoder) -> list[Segment]:
    """Read the segments of an entropy-coded file. Their sizes are not stored; each is known only after decoding."""
    model, k = MODELS[about["m"]], about["nc"]
    first, n_codes = source.offset, k * model.n_frames(about["al"])
    data = memoryview(source.read_up_to((MAX_CODED_BYTES + 16) * n_codes))  # 16: a segment's overhead; it has 1 or more codes
    _check_coded_size(about, len(data), first)
    segments: list[Segment] = []
    place = 0
    for n_frames in model.segment_frames(about["al"]):
        scale = None
        if model.segment_length:
            if len(data) < place + SCALE.sizeof():
                raise Truncated(first + place, f"a segment's scale needs {SCALE.sizeof()} bytes here")
            scale = _checked_scale(data[place : place + SCALE.sizeof()], first + place)
            place += SCALE.sizeof()
        try:
            codes, n_bytes = coder.decode(data[place:], k, n_frames)
        except EOFError:
            raise Truncated(first + place, f"a segment of {n_frames} frames ends too soon") from None
        except ValueError as error:
            raise Corrupt(first + place, f"a segment of {n_frames} frames: {error}") from None
        segments.append((codes, scale))
        place += n_bytes
    if place < len(data):
        raise Corrupt(first + place, "bytes follow the last segment")
    return segments


def _segment_bytes(model: V0Model, codes: NDArray[Any], scale: float | None, coder: SegmentCoder | None) -> bytes:
    if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() >= 1 << BITS:
        raise ArgumentError(f"codes must be integers from 0 to {(1 << BITS) - 1}")
    packed = coder.encode(codes) if coder else pack_codes(codes.T.ravel().astype(np.uint16), BITS)
    if not model.segment_length:
        if scale is not None:
            raise ArgumentError(f"only a model with segments has a scale, got {scale}")
        return packed
    problem = "must be given" if scale is None else scale_problem(float(np.float32(scale)))
    if problem:
        raise ArgumentError(f"a scale {problem}")
    return bytes(SCALE.build(scale)) + packed


def _read_segment(source: Source, model: V0Model, n_codebooks: int, n_frames: int) -> Segment:
    scale = None
    if model.segment_length:
        at = source.offset
        scale = _checked_scale(source.read(SCALE.sizeof(), "a segment's scale"), at)
    offset = source.offset
    data = source.read(packed_bytes(n_codebooks * n_frames, BITS), f"a segment of {n_frames} frames")
    try:
        flat = unpack_codes(data, n_codebooks * n_frames, BITS)
    except ValueError as error:
        raise Corrupt(offset, str(error)) from None
    return flat.reshape(n_frames, n_codebooks).T, scale


def _checked_scale(data: bytes | memoryview, offset: int) -> float:
    scale: float = SCALE.parse(bytes(data))
    problem = scale_problem(scale)
    if problem:
        raise Corrupt(offset, f"a scale {problem}")
    return scale


def _read_about(source: Source) -> dict[str, Any]:
    """Read the JSON object and check the values that are used: "m", "al", "nc" and "lm"."""
    head = source.read_up_to(5)
    version = major_version(head)
    if version != 0:
        raise UnsupportedVersion(4, f"version {version} is not the original container: read it with ecdc.format.reader")
    size = PREFIX.parse(head + source.read(PREFIX.sizeof() - len(head), "the JSON size")).json_size
    if size > MAX_JSON:
        raise OverLimit(5, f"the JSON must be at most {MAX_JSON} bytes, got {size}")
    offset = source.offset
    about = _parse_json(source.read(size, "the JSON"), offset)
    model = MODELS.get(about["m"])
    if model is None:
        raise UnsupportedVersion(offset, f"the model must be one of {', '.join(MODELS)}, got {about['m'][:64]!r}")
    if not 1 <= about["al"] <= MAX_LENGTH:
        raise OverLimit(offset, f"the length must be 1 to {MAX_LENGTH} samples, got {about['al']}")
    if not 1 <= about["nc"] <= model.max_codebooks:
        raise OverLimit(offset, f"K must be 1 to {model.max_codebooks}, got {about['nc']}")
    return about


def _parse_json(text: bytes, offset: int) -> dict[str, Any]:
    types = {"m": str, "al": int, "nc": int, "lm": bool}
    try:
        about = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise Corrupt(offset, "the JSON cannot be parsed") from None
    if not isinstance(about, dict) or any(type(about.get(key)) is not kind for key, kind in types.items()):
        raise Corrupt(offset, 'the JSON must be an object with "m", "al", "nc" and "lm"')
    return about
