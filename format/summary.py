"""Summarize a stream as a flat dict for people and programs, without a model and without decoding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, BinaryIO

from . import timing
from .bytestream import look_ahead
from .errors import Truncated
from .files import input_stream
from .header import major_version
from .reader import Reader
from .v0 import scan_v0


def open_summary(name: str) -> dict[str, Any]:
    """Summarize the file `name`; '-' means standard input.

    Raises FormatError if it does not begin with a complete header, OSError if it cannot be opened.
    """
    with input_stream(name) as stream:
        return summarize(stream)


def summarize(stream: BinaryIO) -> dict[str, Any]:
    """Return a stream's version, codec, lengths, channels, rates, codebooks and real bitrate.

    In a file, only the header, the index and the chunks' heads are read, so long files take little time. `whole` is True
    if the END chunk is present; it does not mean that every byte is intact.
    """
    start, stream = look_ahead(stream, 5)
    if major_version(start) == 0:
        return _summarize_v0(stream)
    reader = Reader(stream)
    codebooks: set[tuple[int, ...]] = set()
    with contextlib.suppress(Truncated):  # a pipe may be cut off
        codebooks = reader.codebooks_in_use()
    header = reader.header
    n_frames = reader.n_frames or 0
    n_samples = reader.n_samples if reader.n_samples is not None else n_frames * header.hop_length
    seconds = timing.seconds(n_samples, header.sample_rate)
    return {
        "version": 1,
        "codec": header.codec,
        "token_space": header.token_space.hex(),
        "seconds": round(float(seconds), 4),
        "channels": header.channels,
        "channel_coding": header.channel_coding.name.lower(),
        "original_sample_rate": header.original_sample_rate,
        "original_n_samples": reader.original_n_samples,
        "sample_rate": header.sample_rate,
        "n_samples": n_samples,
        "n_frames": n_frames,
        "frame_rate": float(header.frame_rate),
        "codebook_size": header.codebook_size,
        "codebooks": [list(ks) for ks in sorted(codebooks)],
        "entropy": header.entropy.name.lower(),
        "prior": header.prior.hex() or None,
        "bytes": reader.n_bytes,
        "kbps": _kbps(reader.n_bytes, seconds),
        "provenance": header.provenance.name.lower(),
        "tags": _by_key(header.tags),
        "whole": reader.trailer is not None,
    }


def _summarize_v0(stream: BinaryIO) -> dict[str, Any]:
    file = scan_v0(stream)
    seconds = timing.seconds(file.n_samples, file.model.sample_rate)
    return {
        "version": 0,
        "codec": file.model_name,
        "seconds": round(float(seconds), 4),
        "channels": file.model.channels,
        "sample_rate": file.model.sample_rate,
        "n_samples": file.n_samples,
        "n_frames": file.n_frames,
        "codebooks": [[file.n_codebooks]],
        "entropy": "language model" if file.entropy_coded else "raw",
        "bytes": file.n_bytes,
        "kbps": _kbps(file.n_bytes, seconds),
        "whole": not file.entropy_coded or None,  # None: unknown without the language model
    }


def _by_key(tags: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Return a dict of tags; a key that occurs more than once has a list of values."""
    found: dict[str, str | list[str]] = {}
    for key, value in tags:
        before = found.get(key)
        found[key] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return found


def _kbps(n_bytes: int, seconds: Fraction) -> float | None:
    return round(float(timing.kbps(n_bytes, seconds)), 3) if seconds else None
