"""The header of a stream: its fields, checks, reading and writing."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from . import timing
from .arguments import described
from .bytestream import Source
from .crc import crc32c
from .errors import Corrupt, DamagedHeader, NotEcdc, Truncated, UnsupportedVersion, WrongModel
from .schema import (
    CRC,
    HEADER,
    MAGIC,
    MAJOR,
    MAX_CHUNK_CODES,
    MAX_CHUNK_FRAMES,
    MAX_HEADER,
    MAX_PRIOR_CODES,
    PREFIX,
    ChannelCoding,
    Entropy,
    FieldError,
    Provenance,
    parse,
)
from .streams import stream_count

AUDIO = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS")  # the first bytes of common kinds of audio, beside ID3
CHUNK_SECONDS = 5  # default: the 36 bytes of framing per chunk are then 3.8 % of the payload at 1.5 kbps, 1 % at 6 kbps


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Everything that a decoder must know. Creating one checks it: ValueError names the field that is wrong.

    Codes are [R, T], where R is the sum of the codebooks of all streams. A length of None is not known yet; the END
    chunk then holds it. SPEC.md says what each field means.
    """

    codec: str  # model name
    token_space: bytes  # SHA-256 of the codebooks; tells which decoders can read the codes
    sample_rate: int  # Hz, of the codec
    hop_length: int  # samples per frame
    codebook_size: int  # V
    max_codebooks: int  # highest K of any stream
    original_sample_rate: int  # Hz
    channels: int = 1  # of the decoded audio
    channel_coding: ChannelCoding = ChannelCoding.MONO
    segment_length: int = 0  # samples per independently coded segment; 0: the audio is not segmented
    segment_stride: int = 0  # samples between the starts of two segments
    pre_skip: int = 0  # samples that the decoder drops from the start of its output
    output_gain: int = 0  # 1/256 dB, applied after decoding
    entropy: Entropy = Entropy.RAW
    prior: bytes = b""  # SHA-256 of the entropy prior
    provenance: Provenance = Provenance.RECORDED
    n_samples: int | None = None  # at sample_rate
    original_n_samples: int | None = None  # at original_sample_rate
    tags: tuple[tuple[str, str], ...] = ()  # (key, value); a key may occur more than once

    def __post_init__(self) -> None:
        if not isinstance(self.channel_coding, ChannelCoding):
            raise FieldError("channel_coding", f"must be a ChannelCoding, got {self.channel_coding!r}")
        _check_types(self)
        self.to_bytes()  # the schema checks each field separately
        self._check_together()

    @property
    def n_streams(self) -> int:
        """Number of token streams in each chunk."""
        return stream_count(self.channel_coding)

    @property
    def bits(self) -> int:
        """Bits per code."""
        return timing.code_bits(self.codebook_size)

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second of the codec."""
        return timing.frame_rate(self.sample_rate, self.hop_length)

    @property
    def segment_frames(self) -> int:
        """Largest number of frames in one segment; 0 if the audio is not segmented."""
        return timing.frames_for(self.segment_length, self.hop_length)

    @property
    def default_chunk_frames(self) -> int:
        """Frames per chunk: enough to keep framing small, few enough to keep latency short."""
        return min(timing.ceil_div(CHUNK_SECONDS * self.sample_rate, self.hop_length), self.chunk_limit)

    @property
    def chunk_limit(self) -> int:
        """Largest number of frames that a chunk can have at every K, and with the prior if the header names one."""
        most = MAX_PRIOR_CODES if self.entropy else MAX_CHUNK_CODES
        return min(MAX_CHUNK_FRAMES, most // (self.n_streams * self.max_codebooks))

    def require(self, codec: str, token_space: bytes) -> None:
        """Raise WrongModel unless the codes belong to this token space; `codec` is the model's name for the message."""
        if token_space != self.token_space:
            raise WrongModel(
                offset_of("token_space"),
                f"the codes are of {self.codec} ({self.token_space.hex()}), not of {codec} ({token_space.hex()})",
            )

    def check_lengths(self, n_samples: int, original_n_samples: int, n_decodable: int) -> None:
        """Raise FieldError unless these final lengths fit the header and codes that decode to `n_decodable` samples."""
        for field, value in (("n_samples", n_samples), ("original_n_samples", original_n_samples)):
            promised = getattr(self, field)
            if promised is not None and promised != value:
                raise FieldError(field, f"must be {promised} as the header says, got {value}")
        most = max(n_decodable - self.pre_skip, 0)
        if n_samples > most:
            raise FieldError("n_samples", f"must be at most {most} for these codes, got {n_samples}")
        self._check_lengths_agree(n_samples, original_n_samples)

    def to_bytes(self) -> bytes:
        """Return the header as bytes."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        minor = 1 if self.entropy else 0  # lowest version that has every feature the stream uses
        values |= {"major": MAJOR, "minor": minor, "header_size": 0, "n_streams": self.n_streams, "extra": b""}
        values["tags"] = [f"{key}={value}" for key, value in self.tags]
        size = len(HEADER.build(values)) + CRC.sizeof()
        if size > MAX_HEADER:
            raise FieldError("tags", f"must leave the header at most {MAX_HEADER} bytes, got {size}")
        data: bytes = HEADER.build(values | {"header_size": size})
        return data + bytes(CRC.build(crc32c(data)))

    def _check_together(self) -> None:
        """Check the rules that involve more than one field; raises FieldError."""
        if self.channel_coding is not ChannelCoding.JOINT and self.channels != self.n_streams:
            raise FieldError("channels", f"must be {self.n_streams} for {self.channel_coding.name}, got {self.channels}")
        if self.entropy == Entropy.RAW and self.prior:
            raise FieldError("prior", f"must be empty for RAW, got {len(self.prior)} bytes")
        if self.entropy == Entropy.PRIOR and not self.prior:
            raise FieldError("prior", "must name the prior for PRIOR")
        if not (0 < self.segment_stride <= self.segment_length or self.segment_stride == self.segment_length == 0):
            raise FieldError("segment_stride", f"must be 1 to {self.segment_length}, got {self.segment_stride}")
        if self.segment_frames > MAX_CHUNK_FRAMES:
            raise FieldError("segment_length", f"must be at most {MAX_CHUNK_FRAMES} frames, got {self.segment_frames}")
        if any("=" in key for key, _ in self.tags):
            raise FieldError("tags", "must not have '=' in a key")
        if self.n_samples is not None and self.original_n_samples is not None:
            self._check_lengths_agree(self.n_samples, self.original_n_samples)

    def _check_lengths_agree(self, n_samples: int, original_n_samples: int) -> None:
        if self.sample_rate == self.original_sample_rate and n_samples != original_n_samples:
            raise FieldError("original_n_samples", f"must be {n_samples} because the rates are equal, got {original_n_samples}")
        most = timing.resampled_length(n_samples, self.sample_rate, self.original_sample_rate)
        if original_n_samples > most:
            text = f"must be at most {most} for {n_samples} samples at {self.sample_rate} Hz, got {original_n_samples}"
            raise FieldError("original_n_samples", text)


def _check_types(header: Header) -> None:
    """Raise FieldError for a field of a wrong type."""
    for field in fields(header):
        value, wanted = getattr(header, field.name), str(field.type)
        if wanted.endswith(" | None") and value is None:
            continue
        if wanted.startswith(("int", "Entropy", "Provenance")):
            try:
                operator.index(value)
            except TypeError:
                raise FieldError(field.name, f"must be a whole number, got {described(value)}") from None
        elif wanted in ("str", "bytes") and not isinstance(value, str if wanted == "str" else bytes):
            raise FieldError(field.name, f"must be {wanted}, got {described(value)}")
    tags = header.tags
    if not isinstance(tags, tuple | list) or not all(isinstance(tag, tuple | list) and len(tag) == 2 for tag in tags):
        raise FieldError("tags", f"must be pairs of key and value, got {described(tags)}")
    for part in (part for tag in tags for part in tag):
        if not isinstance(part, str):
            raise FieldError("tags", f"must be text, got {described(part)}")


def major_version(head: bytes) -> int:
    """Return the major version from the first five bytes of a stream: v0.py reads 0, reader.py reads 1.

    Raises NotEcdc, or Truncated if there are fewer bytes.
    """
    if head[:4] != MAGIC[: len(head)]:
        stranger = NotEcdc(0, f"not an .ecdc stream: it starts with {head[:4]!r}")
        if head[:4] in AUDIO or head[:3] == b"ID3":
            stranger.advice = "`ecdc encode` turns audio into .ecdc files"
        raise stranger
    if len(head) < 5:
        error = Truncated(0, f"the magic and the version need 5 bytes, {len(head)} are here" if head else "the stream is empty")
        error.advice = ""  # there is nothing to repair
        raise error
    return head[4]


def read_header(source: Source) -> Header:
    """Read the header and leave `source` at the first chunk."""
    prefix = source.read_up_to(5)
    major = major_version(prefix)
    if major == 0:
        raise UnsupportedVersion(4, "version 0 is the original EnCodec container: read it with ecdc.format.v0")
    if major != MAJOR:
        raise UnsupportedVersion(4, f"version {major} of the format is not supported (supported: 0 and {MAJOR})")
    try:
        prefix += source.read(PREFIX.sizeof() - len(prefix), "the header's size")
        size = PREFIX.parse(prefix).header_size
        if size < PREFIX.sizeof() + CRC.sizeof():
            raise DamagedHeader(6, f"the header cannot be {size} bytes")
        return parse_header(prefix + source.read(size - len(prefix), "the header", start=len(prefix)))
    except Truncated as error:
        error.advice = DamagedHeader.advice
        raise


def parse_header(data: bytes) -> Header:
    """Parse a header from `data`, which is all of it from the magic to the CRC."""
    body, stored = data[: -CRC.sizeof()], CRC.parse(data[-CRC.sizeof() :])
    if crc32c(body) != stored:
        raise DamagedHeader(len(body), f"the header's CRC is {stored:08x}, its bytes give {crc32c(body):08x}")
    found = parse(HEADER, body, 0)
    if found.n_streams != stream_count(found.channel_coding):
        raise Corrupt(offset_of("n_streams"), f"{found.n_streams} streams do not fit {found.channel_coding.name}")
    values = {field.name: found[field.name] for field in fields(Header)}
    values["tags"] = tuple((key, value) for key, _, value in (tag.partition("=") for tag in found.tags))
    try:
        return Header(**values)
    except FieldError as error:
        raise Corrupt(offset_of(error.field), str(error)) from None


def offset_of(name: str) -> int:
    """Return the byte offset of a fixed-size field; for all others, that of the first variable-size field."""
    offset = 0
    for field in HEADER.subcons:
        if field.name in (name, "codec"):
            break
        offset += field.sizeof()
    return offset
