"""The byte layout of every structure: the only place that defines field order, widths and limits.

fast_fields.py repeats the usual case of two structures, for speed; a test compares it with these.
Multi-byte numbers are little-endian. SPEC.md describes the same layout, and a test parses its examples.
"""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import construct as con
import numpy as np
from construct import this

from .errors import Corrupt, EcdcError, FormatError, OverLimit, UnsupportedVersion

MAGIC = b"ECDC"
SYNC = bytes.fromhex("ecdc936b")  # not text, and no prefix occurs inside it, so a search never matches half of it
MAJOR = 1

UNKNOWN = 2**64 - 1  # a length that only the END chunk holds
MAX_LENGTH = 2**48  # samples or frames: 186 years at 48 kHz
MAX_RATE = 2**24  # Hz
MAX_HOP = 2**24  # samples per frame
MAX_CODEBOOK_SIZE = 2**16  # V
MAX_HEADER = 2**16 - 1  # bytes
MAX_TAGS = 2**8 - 1
DIGEST_SIZE = 32  # bytes
MAX_CHUNK_FRAMES = 2**16 - 1
MAX_CHUNK_CODES = 2**22  # frames times codes per frame; bounds the memory that one chunk can need
MAX_PRIOR_CODES = 2**18  # in a chunk coded with a prior; bounds the time that a few bytes can cost a decoder
MAX_BODY = 2**23 + 2**10  # bytes: MAX_CHUNK_CODES codes of 16 bits, and the fields before them


class ChannelCoding(IntEnum):
    """How the audio channels map to token streams."""

    MONO = 0  # one channel, one stream
    LEFT_RIGHT = 1  # one stream per channel
    MID_SIDE = 2  # mid = (left + right) / 2, side = (left - right) / 2, one stream each
    JOINT = 3  # the codec codes all channels together: one stream


class Entropy(IntEnum):
    """How the codes of a payload are stored."""

    RAW = 0  # fixed width: see bitpack.py
    PRIOR = 1  # entropy coded with a prior (see prior.py); since minor version 1


class Provenance(IntEnum):
    """Where the audio comes from."""

    RECORDED = 0
    GENERATED = 1


class Kind(IntEnum):
    """What a chunk holds. Readers skip kinds that they do not know."""

    CODES = 1
    END = 2


HAS_SCALE = 0x01  # flag of a CODES chunk


class FieldError(EcdcError, ValueError):
    """A field value that the format does not allow; `field` is the field's name."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class Checked(con.Subconstruct):  # type: ignore[misc]  # construct has no type information
    """A field with a rule. A value that breaks it raises FieldError on writing, `error` with the offset on reading.

    `rule` returns a description of what is wrong with a value, or None.
    """

    def __init__(self, field: str, subcon: Any, rule: Callable[[Any], str | None], error: type[FormatError]) -> None:
        super().__init__(subcon)
        self.field, self.rule, self.error = field, rule, error

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        offset = stream.tell()
        value = self.subcon._parsereport(stream, context, path)
        problem = self.rule(value)
        if problem:
            raise self.error(offset, f"{self.field} {problem}")
        return value

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        problem = self.rule(obj)
        if problem:
            raise FieldError(self.field, problem)
        return self.subcon._build(obj, stream, context, path)


def _limited(field: str, subcon: Any, low: int, high: int) -> Any:
    """Return a field for an integer from `low` to `high`, both included."""

    def rule(value: Any) -> str | None:
        return None if low <= operator.index(value) <= high else f"must be {low} to {high}, got {value}"

    return field / Checked(field, subcon, rule, OverLimit)


def _length(field: str) -> Any:
    """Return a field for a number of samples, or None if only the END chunk holds it."""

    def rule(value: Any) -> str | None:
        known = operator.index(value) != UNKNOWN
        return f"must be 0 to {MAX_LENGTH}, got {value}" if known and not 0 <= value <= MAX_LENGTH else None

    checked = Checked(field, con.Int64ul, rule, OverLimit)
    return field / con.ExprAdapter(
        checked, lambda value, _: None if value == UNKNOWN else value, lambda value, _: UNKNOWN if value is None else value
    )


def _choice(field: str, known: type[IntEnum]) -> Any:
    """Return a field for one member of `known`."""

    def rule(value: Any) -> str | None:
        return None if value in set(known) else f"{value} is not one that this version knows"

    checked = Checked(field, con.Int8ul, rule, UnsupportedVersion)
    return field / con.ExprAdapter(checked, lambda value, _: known(value), lambda value, _: value)


def _digest(field: str, subcon: Any, *sizes: int) -> Any:
    """Return a field for the bytes of a hash, whose size must be one of `sizes`."""

    wanted = " or ".join(map(str, sizes))

    def rule(value: Any) -> str | None:
        fits = isinstance(value, bytes) and len(value) in sizes
        return None if fits else f"must be {wanted} bytes, got {value!r}"

    return field / Checked(field, subcon, rule, Corrupt)


def _text(field: str, length: Any, problem_of: Callable[[str], str | None]) -> Any:
    """Return a field for UTF-8 text, preceded by its length in bytes, which is stored as `length`."""
    high = (1 << (8 * length.sizeof())) - 1

    def rule(value: bytes) -> str | None:
        if len(value) > high:
            return f"must be at most {high} bytes, got {len(value)}"
        try:
            return problem_of(value.decode())
        except UnicodeDecodeError:
            return f"must be UTF-8, got {value[:32]!r}"

    def encoded(value: str, _: Any) -> bytes:
        try:
            return value.encode()
        except UnicodeEncodeError as error:  # for example, a command-line argument that is not UTF-8
            raise FieldError(field, f"must be text that UTF-8 can represent, got {value[: error.end][-32:]!r}") from None

    checked = Checked(field, con.Prefixed(length, con.GreedyBytes), rule, Corrupt)
    return con.ExprAdapter(checked, lambda value, _: value.decode(), encoded)


def _is_name(text: str) -> bool:
    """Return True if `text` is not empty and has no control characters, which would confuse a terminal."""
    return text != "" and not any(unicodedata.category(character) == "Cc" for character in text)


def _name_problem(name: str) -> str | None:
    return None if _is_name(name) else f"must be a name without control characters, got {name[:32]!r}"


def _tag_problem(tag: str) -> str | None:
    key, equals, _ = tag.partition("=")
    return None if equals and _is_name(key) else f"must each be key=value, got {tag[:32]!r}"


def _count_problem(tags: list[str]) -> str | None:
    return None if len(tags) <= MAX_TAGS else f"must be at most {MAX_TAGS}, got {len(tags)}"


def scale_problem(scale: float) -> str | None:
    """Return what is wrong with the scale of a segment, given as the stored float32; None if nothing is."""
    return None if math.isfinite(scale) and scale > 0 else f"must be finite and above 0, got {scale}"


# The start of every version 1 header. Version 0 has the magic and the version at the same offsets.
PREFIX = con.Struct(
    "magic" / con.Const(MAGIC),
    "major" / con.Int8ul,
    "minor" / con.Int8ul,
    "header_size" / con.Int16ul,  # bytes, including the magic and the CRC
)

HEADER = con.Struct(
    *PREFIX.subcons,
    _limited("sample_rate", con.Int32ul, 1, MAX_RATE),  # Hz, of the codec
    _limited("original_sample_rate", con.Int32ul, 1, MAX_RATE),  # Hz, restored after decoding
    _limited("channels", con.Int8ul, 1, 255),  # of the decoded audio
    _limited("n_streams", con.Int8ul, 1, 2),
    _choice("channel_coding", ChannelCoding),
    _limited("max_codebooks", con.Int8ul, 1, 255),  # highest K of any stream
    _limited("codebook_size", con.Int32ul, 2, MAX_CODEBOOK_SIZE),  # V
    _limited("hop_length", con.Int32ul, 1, MAX_HOP),  # samples per frame
    _limited("segment_length", con.Int32ul, 0, MAX_HOP),  # samples; 0: the audio is not segmented
    _limited("segment_stride", con.Int32ul, 0, MAX_HOP),  # samples from one segment's start to the next
    _limited("pre_skip", con.Int32ul, 0, 2**32 - 1),  # samples that the decoder drops from the start of its output
    _limited("output_gain", con.Int16sl, -(2**15), 2**15 - 1),  # 1/256 dB
    _choice("entropy", Entropy),
    _choice("provenance", Provenance),
    _length("n_samples"),  # at sample_rate, after pre_skip, without padding
    _length("original_n_samples"),  # the same at original_sample_rate
    _digest("token_space", con.Bytes(DIGEST_SIZE), DIGEST_SIZE),  # SHA-256 of the codebooks
    "codec" / _text("codec", con.Int8ul, _name_problem),
    _digest("prior", con.Prefixed(con.Int8ul, con.GreedyBytes), 0, DIGEST_SIZE),  # of the entropy prior; empty for RAW
    "tags" / Checked("tags", con.PrefixedArray(con.Int8ul, _text("tags", con.Int16ul, _tag_problem)), _count_problem, Corrupt),
    "extra" / con.GreedyBytes,  # fields of later minor versions: ignored
)  # followed by the CRC-32C of all bytes before it

CHUNK = con.Struct(
    "sync" / con.Const(SYNC),
    "kind" / con.Int8ul,
    "flags" / con.Int8ul,
    "sequence" / con.Int32ul,  # number of the chunk, from 0
    "body_size" / con.Int32ul,
)  # followed by the body, then the CRC-32C of head and body

SPAN = con.Struct(  # the start of a CODES chunk's body
    _limited("first_frame", con.Int64ul, 0, MAX_LENGTH),
    _limited("n_frames", con.Int16ul, 1, MAX_CHUNK_FRAMES),
)

CODES = con.Struct(  # the whole body of a CODES chunk
    *SPAN.subcons,
    _choice("entropy", Entropy),
    "n_codebooks" / con.Bytes(this._params.n_streams),  # K of each stream, one byte each
    "scale" / con.If(this._params.has_scale, Checked("scale", con.Float32l, scale_problem, Corrupt)),
    "payload" / con.GreedyBytes,
)

END = con.Struct(  # the body of the END chunk
    _limited("n_samples", con.Int64ul, 0, MAX_LENGTH),
    _limited("original_n_samples", con.Int64ul, 0, MAX_LENGTH),
    "checksum" / con.Int32ul,  # CRC-32C of all codes
    "index" / con.Bytes(this._params.index_size),  # an INDEX_ENTRY for each chunk before this one
    "extra" / con.GreedyBytes,  # fields of later minor versions: ignored
)  # followed by END_SIZE: the size of the whole chunk in bytes, with which a reader finds its start from the end of a file
END_SIZE = con.Int32ul

INDEX_ENTRY = np.dtype([("size", "<u4"), ("n_frames", "<u2")])  # size: bytes with framing; 0 frames: not a CODES chunk
CRC = con.Int32ul


def parse(struct: Any, data: bytes | memoryview, offset: int, **params: int) -> Any:
    """Parse `data`, which begins at byte `offset` of the stream; raises FormatError."""
    try:
        return struct.parse(data, **params)
    except FormatError as error:
        raise type(error)(offset + error.offset, error.message) from None
    except con.ConstructError:
        raise Corrupt(offset, f"the {len(data)} bytes here end inside a field") from None
