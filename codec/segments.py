"""Overlapping, independently coded segments, as EnCodec uses them for 48 kHz stereo: of tensors, or of numpy arrays.

A segment starts at every multiple of `stride` below the signal's end, even if the previous one
already reaches the end. The last may be short.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

MIN_SCALE = 1e-8
Signal = TypeVar("Signal")  # a tensor or an array


@dataclass
class Segment:
    """Codes [B, K, t] of one independently coded piece of audio, and its scale [B, 1] if any: tensors or arrays."""

    codes: Any
    scale: Any = None


def segment_of(codes: NDArray[Any], scale: float | None) -> Segment:
    """Return codes [K, t] and the scale of a file's segment as a segment of arrays."""
    return Segment(codes[None].astype(np.int64), None if scale is None else np.array([[scale]], np.float32))


def cut(blocks: Iterable[Signal], length: int, stride: int) -> Iterator[Signal]:
    """Cut audio in blocks [B, C, n] of any length into segments [B, C, up to `length`]."""
    held: Any = None
    for block in blocks:
        held = block if held is None else _joined([held, block])
        while held.shape[-1] >= length:
            yield held[..., :length]
            held = held[..., stride:]
    while held is not None and held.shape[-1]:
        yield held[..., :length]
        held = held[..., stride:]


def loudness(wav: Any) -> Any:
    """Return the root mean square of the mean of the channels, never zero: [B, C, N] -> [B, 1]."""
    mono = wav.mean(1)[:, None]
    return MIN_SCALE + (mono * mono).mean(2) ** 0.5


def overlap_add(segments: Iterable[Signal], stride: int) -> Iterator[Signal]:
    """Overlap-add decoded segments [B, C, n] to audio in blocks [B, C, m], holding at most one segment.

    Each segment is weighted by a triangle as long as the first segment; a short segment uses only the
    start of it. The sum is divided by the sum of the weights.
    """
    window: Any = None
    total: Any = None
    weight: Any = None
    for segment in segments:
        if window is None:
            window = _triangle(segment)
        if total is not None:
            yield total[..., :stride] / weight[:stride]
            total, weight = total[..., stride:], weight[stride:]
        w = window[: segment.shape[-1]]  # type: ignore[attr-defined]
        total, weight = _added(total, segment * w), _added(weight, w)
    if total is not None:
        yield total / weight


def _triangle(segment: Any) -> Any:
    """Return the weights [n] of the samples of a segment [B, C, n]."""
    n = segment.shape[-1] + 2
    if isinstance(segment, np.ndarray):
        position: Any = np.linspace(0, 1, n, dtype=segment.dtype)
    else:
        position = sys.modules["torch"].linspace(0, 1, n, dtype=segment.dtype, device=segment.device)
    return 0.5 - abs(position[1:-1] - 0.5)


def _added(head: Any, tail: Any) -> Any:
    """Add two signals that start together; the result is as long as the longer one."""
    if head is None:
        return tail
    both = min(head.shape[-1], tail.shape[-1])
    return _joined([head[..., :both] + tail[..., :both], head[..., both:], tail[..., both:]])


def _joined(parts: list[Any]) -> Any:
    """Join signals in time."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=-1)
    return sys.modules["torch"].cat(parts, dim=-1)
