"""Noise that depends only on a frame's number, so that spans and streams equal the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from . import noise_hash
from .noise_hash import mixed as mixed


def frame_noise(first: int, n_frames: int, size: int, like: Tensor, stream: int = 0) -> Tensor:
    """Return uniform noise of unit power [1, n_frames, size], as noise_hash does, in the type and on the device of `like`."""
    return torch.from_numpy(noise_hash.frame_noise(first, n_frames, size, stream))[None].to(like)
