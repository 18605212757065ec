"""Convert streams to and from numpy and safetensors files, for programs that read those. No model is needed.

A file holds `codes`, uint16: [K, T] for one stream, [S, K, T] for several with the same K. Streams of different K are
concatenated to [R, T]. .npz and .safetensors also hold the header, as JSON, and the segments, if any; a .npy holds only
the codes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .api import CodeFile
from .array_files import Arrays, load_arrays, save_arrays
from .chunk import Chunk
from .errors import ArgumentError
from .header import Header
from .schema import ChannelCoding, Entropy, Provenance
from .writer import Writer

FORMS = ("npy", "npz", "safetensors")
MAX_TOKENS = 2**27  # codes in a file: 62 hours of 8 codebooks at 75 frames a second
_ENUMS: dict[str, type[IntEnum]] = {"ChannelCoding": ChannelCoding, "Entropy": Entropy, "Provenance": Provenance}


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A whole stream in memory. codes is [R, T] uint16: the codebooks of the first stream, then those of the next."""

    header: Header
    codes: NDArray[np.uint16]
    n_codebooks: tuple[int, ...]  # K of each stream
    n_samples: int | None = None  # at the codec's rate; None: all that the codes decode to
    original_n_samples: int | None = None
    segments: tuple[tuple[int, float | None], ...] = ()  # frames and scale of each, if the header has segments

    @property
    def array(self) -> NDArray[np.uint16]:
        """Codes as [K, T] for one stream, [S, K, T] for several, or [R, T] if their K differ."""
        ks, n_frames = self.n_codebooks, self.codes.shape[1]
        return self.codes.reshape(len(ks), ks[0], n_frames) if len(ks) > 1 and len(set(ks)) == 1 else self.codes


def collect(file: CodeFile, trim: bool = False) -> Tokens:
    """Read all codes of an open file, which may be a pipe, and check every byte.

    With `trim`, only the codebooks that all frames of all streams have are kept. Raises ValueError if K varies in time and
    `trim` is False, if some frames have no codes, for more than MAX_TOKENS codes, and for version 0, which has no token
    space.
    """
    if file.version == 0:
        raise ArgumentError("a version 0 file does not name its token space: convert it to version 1 first")
    chunks: list[Chunk] = []
    n_codes = 0
    for chunk in file:
        n_codes += chunk.codes.size
        if n_codes > MAX_TOKENS:
            raise ArgumentError(f"more than {MAX_TOKENS} codes: cut the file into parts first")
        chunks.append(chunk)
    found = {chunk.n_codebooks for chunk in chunks} or {(1,) * file.header.n_streams}
    ks = (min(map(min, found)),) * file.header.n_streams if trim else next(iter(found))
    if len(found) > 1 and not trim:
        shown = " and ".join("+".join(map(str, ks)) for ks in sorted(found)[:4])
        raise ArgumentError(
            f"the number of codebooks varies ({shown}), but an array needs a fixed number: trim to those that all frames have"
        )
    if min(ks) < 1:
        raise ArgumentError("some frames have no codes, which an array cannot show")
    rows = [np.concatenate([codes[:k] for codes, k in zip(chunk.streams(), ks, strict=True)]) for chunk in chunks]
    codes = np.concatenate([np.empty((sum(ks), 0), np.uint16), *rows], axis=1)
    segments = tuple((chunk.n_frames, chunk.scale) for chunk in chunks) if file.header.segment_length else ()
    return Tokens(file.header, codes, ks, file.n_samples, file.original_n_samples, segments)


def write(tokens: Tokens, output: BinaryIO) -> Writer:
    """Write tokens as an .ecdc stream; raises ValueError if the header does not allow them."""
    header = tokens.header
    if bool(header.segment_length) != bool(tokens.segments) and tokens.codes.shape[1]:
        raise ArgumentError("a segmented header needs the frames of its segments, and only that: use .npz or .safetensors")
    if header.segment_length and sum(n for n, _ in tokens.segments) != tokens.codes.shape[1]:
        raise ArgumentError(f"the segments must have {tokens.codes.shape[1]} frames in all")
    most = tokens.codes.shape[1] * header.hop_length
    if (tokens.n_samples, header.n_samples) == (None, None) and 0 < most <= header.pre_skip:
        raise ArgumentError(f"pre_skip must be less than the {most} samples that the codes decode to, got {header.pre_skip}")
    with Writer(output, header) as writer:
        start = 0
        for n_frames, scale in tokens.segments:
            writer.append_segment(tokens.codes[:, start : start + n_frames], scale, tokens.n_codebooks)
            start += n_frames
        if not header.segment_length:
            writer.append(tokens.codes, tokens.n_codebooks)
        writer.close(tokens.n_samples, tokens.original_n_samples)
    return writer


def save(tokens: Tokens, output: BinaryIO, form: str) -> None:
    """Write tokens as one of FORMS, without seeking; raises ValueError if a .npy cannot hold them."""
    if form == "npy" and (tokens.segments or len(set(tokens.n_codebooks)) > 1):
        raise ArgumentError("a .npy cannot tell segments, or streams of different K, apart: use .npz or .safetensors")
    arrays: Arrays = {"codes": np.ascontiguousarray(tokens.array)}
    if tokens.segments:
        arrays["segment_frames"] = np.array([n for n, _ in tokens.segments], np.int64)
        arrays["segment_scale"] = np.array([scale or 0 for _, scale in tokens.segments], np.float32)  # 0: no scale
    about = {"n_codebooks": list(tokens.n_codebooks), "lengths": [tokens.n_samples, tokens.original_n_samples]}
    save_arrays(output, form, arrays, json.dumps(header_fields(tokens.header) | about, ensure_ascii=False))


def load(fileobj: BinaryIO, form: str, like: CodeFile | None = None, fields: dict[str, str] | None = None) -> Tokens:
    """Read tokens from one of FORMS; codes may have any integer type. Raises ValueError for bad values and excessive sizes.

    The header comes from `like` if given, else from the file. `fields` (texts) replace fields of it; for a .npy they can
    provide all of them. Lengths and pre_skip come from `like` if it has as many frames, else from the file if `like` is not
    given; otherwise every frame is decoded.
    """
    arrays, text = load_arrays(fileobj, form)
    about = {} if text is None else _parse_about(text)
    ks, lengths = about.pop("n_codebooks", None), about.pop("lengths", [None, None])
    if like:
        lengths = [None, None]
    values = header_fields(like.header) | {"n_samples": None, "original_n_samples": None} if like else about
    if form == "npy" and not like and arrays["codes"].ndim > 1:
        values = {"max_codebooks": max(1, arrays["codes"].shape[-2])}
    header = header_from(values | (fields or {}))
    n_codebooks, codes = _rows(arrays["codes"], header, ks)
    if like and like.frames == codes.shape[1]:
        lengths = [like.n_samples, like.original_n_samples]
    elif like and "pre_skip" not in (fields or {}):
        header = dataclasses.replace(header, pre_skip=0)
    if not (isinstance(lengths, list) and len(lengths) == 2 and all(n is None or type(n) is int for n in lengths)):
        raise ArgumentError(f"lengths must be two numbers, got {lengths!r:.80}")
    if {"n_samples", "original_n_samples", "pre_skip"} & (fields or {}).keys():
        lengths = [None, None]
    return Tokens(header, codes, n_codebooks, lengths[0], lengths[1], _segments(arrays, header))


def header_fields(header: Header) -> dict[str, Any]:
    """Return a header as JSON-compatible values: hashes in hexadecimal, enum members by name."""
    values = {field.name: getattr(header, field.name) for field in dataclasses.fields(Header)}
    names = {name: value.name.lower() for name, value in values.items() if isinstance(value, IntEnum)}
    hashes = {name: value.hex() for name, value in values.items() if isinstance(value, bytes)}
    return values | names | hashes | {"tags": [list(tag) for tag in header.tags]}


def header_from(values: dict[str, Any]) -> Header:
    """Make a header from such values; numbers may be texts. ValueError names the field that is wrong.

    original_sample_rate defaults to sample_rate.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(Header)}
    unknown = sorted(values.keys() - types.keys())
    if unknown:
        raise ArgumentError(f"{unknown[0]}: is not a field of a header ({', '.join(types)})")
    if "sample_rate" in values:
        values = {"original_sample_rate": values["sample_rate"]} | values
    needed = [f.name for f in dataclasses.fields(Header) if f.default is dataclasses.MISSING and f.name not in values]
    if needed:
        text = ", ".join(name for name in needed if name != "original_sample_rate")
        raise ArgumentError(f"the header lacks {text}: give a file of the same model (--like), or these fields (--field)")
    return Header(**{name: _field(name, types[name], value) for name, value in values.items()})


def _field(name: str, kind: str, value: Any) -> Any:
    """Convert a field from its form in JSON or on a command line; raises ValueError."""
    with contextlib.suppress(ValueError, KeyError):
        if kind in _ENUMS and isinstance(value, str):
            return _ENUMS[kind][value.upper()]
        if kind == "bytes" and isinstance(value, str):
            return bytes.fromhex(value)
        if kind.startswith("int") and (type(value) is int or isinstance(value, str)):
            return int(value)
        if (kind.endswith("None") and value is None) or (kind == "str" and isinstance(value, str)):
            return value
        if kind.startswith("tuple") and isinstance(value, list):
            pairs = tuple(tuple(pair) for pair in value if isinstance(pair, list) and len(pair) == 2)
            if len(pairs) == len(value) and all(isinstance(text, str) for pair in pairs for text in pair):
                return pairs
    raise ArgumentError(f"{name}: cannot be {value!r:.80}")


def _rows(array: NDArray[Any], header: Header, ks: Any) -> tuple[tuple[int, ...], NDArray[np.uint16]]:
    """Return the K of each stream and codes [R, T], from an array of any allowed shape; raises ValueError."""
    n_streams = header.n_streams
    if array.dtype.kind not in "iu" or array.ndim not in (2, 3) or (array.ndim == 3 and len(array) != n_streams):
        wanted = "[K, T]" if n_streams == 1 else f"[{n_streams}, K, T]"
        raise ArgumentError(f"codes must be integers {wanted}, got {array.dtype} {list(array.shape)}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < header.codebook_size:
        raise ArgumentError(f"codes must be 0 to {header.codebook_size - 1}, got {array.min()} to {array.max()}")
    codes = array.reshape(math.prod(array.shape[:-1]), array.shape[-1]).astype(np.uint16)
    if array.ndim == 3 or ks is None:
        ks = [len(codes) // n_streams] * n_streams
    if not isinstance(ks, list) or len(ks) != n_streams or any(type(k) is not int for k in ks) or sum(ks) != len(codes):
        raise ArgumentError(f"{len(codes)} rows of codes cannot be divided among {n_streams} streams as {ks!r:.80}")
    return tuple(ks), codes


def _segments(arrays: Arrays, header: Header) -> tuple[tuple[int, float | None], ...]:
    if not header.segment_length:
        return ()
    frames, scales = arrays.get("segment_frames"), arrays.get("segment_scale")
    if frames is None or scales is None or frames.dtype.kind not in "iu" or scales.dtype != np.float32:
        raise ArgumentError("a segmented header needs the arrays segment_frames, integers, and segment_scale, float32")
    if frames.ndim != 1 or frames.shape != scales.shape or (frames < 1).any():
        raise ArgumentError(f"segment_frames and segment_scale must be [n], got {list(frames.shape)} and {list(scales.shape)}")
    return tuple((int(n), float(scale) or None) for n, scale in zip(frames, scales, strict=True))


def _parse_about(text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        raise ArgumentError("the header in the file is not JSON") from None
    if not isinstance(about, dict):
        raise ArgumentError("the header in the file must be a JSON object")
    return about
