"""Convert the original container (version 0) to version 1 and back, with the same codes and without decoding audio."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from . import api
from .api import CodeFile
from .errors import ArgumentError
from .v0 import MODELS, Segment, SegmentCoder, write_v0


def to_v1(file: CodeFile, output: BinaryIO, token_space: bytes) -> None:
    """Write a version 0 file as version 1. `token_space` is the SHA-256 of its codebooks, which version 0 does not store."""
    if file.version != 0:
        raise ArgumentError(f"expected a version 0 file, got version {file.version}")
    api.write(output, file, token_space=token_space)


def to_v0(file: CodeFile, output: BinaryIO, coder: SegmentCoder | None = None) -> None:
    """Write a version 1 file of encodec_24khz or encodec_48khz as version 0, entropy coded if a `coder` is given.

    Tags, token space and original sample rate are dropped, because version 0 cannot store them. All codes are held in
    memory. Raises ValueError for anything else that version 0 cannot store.
    """
    header = file.header
    model = MODELS.get(header.codec)
    if file.version != 1 or model is None:
        raise ArgumentError(f"version 0 holds {' and '.join(MODELS)} only, got {header.codec} in version {file.version}")
    for name in ("sample_rate", "channels", "hop_length", "segment_length", "segment_stride"):
        if getattr(header, name) != getattr(model, name):
            raise ArgumentError(f"version 0 has {name} {getattr(model, name)} for this model, got {getattr(header, name)}")
    if header.pre_skip or header.output_gain:
        raise ArgumentError("version 0 cannot store a gain or a pre-skip, which parts of files have")
    chunks = list(file)
    found = sorted({chunk.n_codebooks for chunk in chunks})
    if len(found) != 1:
        raise ArgumentError(f"version 0 needs the same number of codebooks in all frames, got {found[:4]}")
    assert file.n_samples is not None  # known, because every chunk was read
    segments: list[Segment] = [(chunk.codes, chunk.scale) for chunk in chunks]
    if not header.segment_length:
        segments = [(np.concatenate([chunk.codes for chunk in chunks], axis=1), None)]
    write_v0(output, header.codec, file.n_samples, segments, coder)
