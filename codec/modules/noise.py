"""Noise that depends only on a frame's number, so that spans and streams equal the whole."""

from __future__ import annotations

import torch
from torch import Tensor

MASK = 0xFFFFFFFF  # of 32-bit integers; they are in int64, because torch has no arithmetic for unsigned ones


def frame_noise(first: int, n_frames: int, size: int, like: Tensor, stream: int = 0) -> Tensor:
    """Return uniform noise of unit power [1, n_frames, size], as noise_hash does, in the type and on the device of `like`.

    It is computed by operators of torch, so that decoders can be compiled and exported for any number of frames.
    """
    frames = torch.arange(n_frames, device=like.device) + first & MASK
    seeds = mixed(frames * 0x9E3779B1 + stream * 0x85EBCA77 & MASK)
    h = mixed(seeds[:, None] + torch.arange(size, device=like.device) & MASK)
    unit = (h.to(torch.float32) * 2.0**-31 - 1.0) * torch.tensor(3.0**0.5, dtype=torch.float32, device=like.device)
    return unit[None].to(like)


def mixed(h: Tensor) -> Tensor:
    """Mix 32-bit integers, in int64, as `noise_hash.mixed` does. Products wrap at 64 bits, which keeps the lower 32."""
    h = h ^ (h >> 16)
    h = h * 0x7FEB352D & MASK
    h = h ^ (h >> 15)
    h = h * 0x846CA68B & MASK
    return h ^ (h >> 16)
