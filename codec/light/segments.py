"""Overlapping, independently coded segments in numpy; see codec/segments.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SCALE = 1e-8  # as in codec/segments.py
Floats = NDArray[np.float32]


@dataclass
class LightSegment:
    """Codes [B, K, t] of one independently coded piece of audio, and its scale [B, 1] if any."""

    codes: NDArray[np.integer[Any]]
    scale: Floats | None = None


def segment_of(codes: NDArray[Any], scale: float | None) -> LightSegment:
    """Return codes [K, t] and the scale of a file's segment as a segment."""
    return LightSegment(codes[None].astype(np.int64), None if scale is None else np.array([[scale]], np.float32))


def cut(blocks: Iterable[Floats], length: int, stride: int) -> Iterator[Floats]:
    """Cut audio in blocks [B, C, n] of any length into segments [B, C, up to `length`]."""
    held: Floats | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=-1)
        while held.shape[-1] >= length:
            yield held[..., :length]
            held = held[..., stride:]
    while held is not None and held.shape[-1]:
        yield held[..., :length]
        held = held[..., stride:]


def loudness(wav: Floats) -> Floats:
    """Return the root mean square of the mean of the channels, never zero: [B, C, N] -> [B, 1]."""
    mono = wav.mean(axis=1, keepdims=True)
    return np.float32(MIN_SCALE) + np.sqrt(np.square(mono).mean(axis=2))  # type: ignore[no-any-return]


def overlap_add(segments: Iterable[Floats], stride: int) -> Iterator[Floats]:
    """Overlap-add decoded segments [B, C, n] to audio in blocks [B, C, m], holding at most one segment.

    Each segment is weighted by a triangle as long as the first segment; a short segment uses only the
    start of it. The sum is divided by the sum of the weights.
    """
    window = total = weight = None
    for segment in segments:
        if window is None:
            position = np.linspace(0, 1, segment.shape[-1] + 2, dtype=np.float32)[1:-1]
            window = np.float32(0.5) - np.abs(position - np.float32(0.5))
        if total is not None and weight is not None:
            yield total[..., :stride] / weight[:stride]
            total, weight = total[..., stride:], weight[stride:]
        w = window[: segment.shape[-1]]
        total, weight = _add(total, segment * w), _add(weight, w)
    if total is not None and weight is not None:
        yield total / weight


def _add(head: Floats | None, tail: Floats) -> Floats:
    """Add two signals that start together; the result is as long as the longer one."""
    if head is None:
        return tail
    both = min(head.shape[-1], tail.shape[-1])
    return np.concatenate([head[..., :both] + tail[..., :both], head[..., both:], tail[..., both:]], axis=-1)
