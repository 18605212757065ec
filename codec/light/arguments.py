"""Check the arguments of a codec that works on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...format.errors import ArgumentError


def checked_wav(wav: Any, channels: int) -> NDArray[np.float32]:
    """Return audio [B, channels, N] in float32; raises ValueError unless it is an array of finite floats of that shape."""
    wanted = f"wav must be finite floats [B, {channels}, N]"
    array = _array(wav, wanted)
    if array.dtype.kind != "f" or array.ndim != 3 or array.shape[1] != channels:
        raise ArgumentError(f"{wanted}, got {array.dtype} {list(array.shape)}")
    if not len(array):
        raise ArgumentError(f"wav has no items: it is {array.dtype} {list(array.shape)}")
    n_bad = array.size - int(np.isfinite(array).sum())
    if n_bad:
        raise ArgumentError(f"{wanted}, got {array.dtype} {list(array.shape)} with {n_bad} NaN or infinite samples")
    return np.ascontiguousarray(array, np.float32)


def checked_codes(codes: Any, max_codebooks: int, codebook_size: int) -> NDArray[np.int64]:
    """Return codes [B, K, T] as int64; raises ValueError unless they are integers in [0, codebook_size)."""
    wanted = f"codes must be integers [B, 0..{max_codebooks}, T]"
    array = _array(codes, wanted)
    if array.dtype.kind not in "iu" or array.ndim != 3 or array.shape[1] > max_codebooks:
        raise ArgumentError(f"{wanted}, got {array.dtype} {list(array.shape)}")
    if not len(array):
        raise ArgumentError(f"codes have no items: they are {array.dtype} {list(array.shape)}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < codebook_size:
        raise ArgumentError(f"codes must lie in [0, {codebook_size}), got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def _array(value: Any, wanted: str) -> NDArray[Any]:
    """Return an array unchanged, and a tensor of torch as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ArgumentError(f"{wanted}, as a tensor or a numpy array, got {kind}")
    return value
