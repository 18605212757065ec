"""Noise that depends only on a frame's number, as arrays, without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STREAM_FRAMES = 1 << 30  # the second stream of a file has the noise of the frames from this one on


def frame_noise(first: int, n_frames: int, size: int, stream: int = 0) -> NDArray[np.float32]:
    """Return uniform noise of unit power [n_frames, size] for the frames `first`, `first` + 1, ... Each `stream` differs.

    A 32-bit integer hash (two multiplications, three shifts) of the frame's number and the position, which every language
    computes alike: h = frame * 0x9E3779B1 + stream * 0x85EBCA77 + position, mixed, and scaled to [-sqrt(3), sqrt(3)).
    """
    return noise_of(np.arange(first, first + n_frames, dtype=np.int64), size, stream)


def noise_of(numbers: NDArray[np.int64], size: int, stream: int = 0) -> NDArray[np.float32]:
    """Return the noise [n, size] of frames by their numbers [n]; see `frame_noise`."""
    return noise_at(numbers, np.arange(size), stream)


def noise_at(numbers: NDArray[np.int64], positions: NDArray[np.int64], stream: int = 0) -> NDArray[np.float32]:
    """Return the noise [n, m] of frames by their numbers [n], at positions [m]; see `frame_noise`."""
    frames = (numbers & 0xFFFFFFFF).astype(np.uint32)[:, None]
    with np.errstate(over="ignore"):
        h = mixed(frames * np.uint32(0x9E3779B1) + np.uint32((stream * 0x85EBCA77) & 0xFFFFFFFF))
        h = mixed(h + positions.astype(np.uint32))
    unit = h.astype(np.float32)
    unit *= np.float32(2.0**-31)
    unit -= np.float32(1.0)
    unit *= np.float32(3.0**0.5)
    return unit


def mixed(h: np.ndarray) -> np.ndarray:
    """Mix 32-bit integers by a bijection in which every output bit depends on every input bit (found by C. Wellons' search)."""
    h = h ^ (h >> np.uint32(16))
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h
