"""Overlapping, independently coded segments, as EnCodec uses them for 48 kHz stereo.

A segment starts at every multiple of `stride` below the signal's end, even if the previous one
already reaches the end. The last may be short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MIN_SCALE = 1e-8


@dataclass
class Segment:
    """Codes [B, K, t] of one independently coded piece of audio, and its scale [B, 1] if any."""

    codes: Tensor
    scale: Tensor | None = None


def segment_of(codes: np.ndarray, scale: float | None, device: torch.device) -> Segment:
    """Return codes [K, t] and the scale of a file's segment as a segment on a device."""
    # Copied, because tensors are always writable and the arrays of a file may not be.
    return Segment(torch.from_numpy(codes.astype(np.int64))[None].to(device), _tensor(scale, device))


def _tensor(scale: float | None, device: torch.device) -> Tensor | None:
    return None if scale is None else torch.tensor([[scale]], device=device)


def cut(blocks: Iterable[Tensor], length: int, stride: int) -> Iterator[Tensor]:
    """Cut audio in blocks [B, C, n] of any length into segments [B, C, up to `length`]."""
    held: Tensor | None = None
    for block in blocks:
        held = block if held is None else torch.cat([held, block], dim=-1)
        while held.shape[-1] >= length:
            yield held[..., :length]
            held = held[..., stride:]
    while held is not None and held.shape[-1]:
        yield held[..., :length]
        held = held[..., stride:]


def loudness(wav: Tensor) -> Tensor:
    """Return the root mean square of the mean of the channels, never zero: [B, C, N] -> [B, 1]."""
    mono = wav.mean(dim=1, keepdim=True)
    return MIN_SCALE + mono.pow(2).mean(dim=2).sqrt()


def overlap_add(segments: Iterable[Tensor], stride: int) -> Iterator[Tensor]:
    """Overlap-add decoded segments [B, C, n] to audio in blocks [B, C, m], holding at most one segment.

    Each segment is weighted by a triangle as long as the first segment; a short segment uses only the
    start of it. The sum is divided by the sum of the weights.
    """
    window = total = weight = None
    for segment in segments:
        if window is None:
            position = torch.linspace(0, 1, segment.shape[-1] + 2, dtype=segment.dtype, device=segment.device)[1:-1]
            window = 0.5 - (position - 0.5).abs()
        if total is not None and weight is not None:
            yield total[..., :stride] / weight[:stride]
            total, weight = total[..., stride:], weight[stride:]
        w = window[: segment.shape[-1]]
        total, weight = _add(total, segment * w), _add(weight, w)
    if total is not None and weight is not None:
        yield total / weight


def _add(head: Tensor | None, tail: Tensor) -> Tensor:
    """Add two signals that start together; the result is as long as the longer one."""
    if head is None:
        return tail
    n, m = head.shape[-1], tail.shape[-1]
    both = min(n, m)
    return torch.cat([head[..., :both] + tail[..., :both], head[..., both:], tail[..., both:]], dim=-1)
