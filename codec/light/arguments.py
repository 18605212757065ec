"""Check the arguments of a codec that works on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...format.errors import ArgumentError


def checked_wav(wav: Any, channels: int, n_items: int | None = None) -> NDArray[np.float32]:
    """Return audio [B, channels, N] in float32; raises ValueError unless it is an array of finite floats of that shape.

    `n_items` is the B that it must have; None: any but 0.
    """
    wanted = f"wav must be finite floats [B, {channels}, N]"
    array = _array(wav, wanted)
    if array.dtype.kind != "f" or array.ndim != 3 or array.shape[1] != channels:
        raise ArgumentError(f"{wanted}, got {array.dtype} {list(array.shape)}")
    if not len(array):
        raise ArgumentError(f"wav has no items: it is {array.dtype} {list(array.shape)}")
    if n_items not in (None, len(array)):
        raise ArgumentError(f"wav must have {n_items} items as its stream has, got {array.dtype} {list(array.shape)}")
    with np.errstate(over="ignore"):
        samples = np.ascontiguousarray(array, np.float32)
    n_bad = array.size - int(np.isfinite(samples).sum())
    if n_bad:
        text = f"{wanted}, got {array.dtype} {list(array.shape)} with {n_bad} NaN or infinite samples"
        items = np.flatnonzero(~np.isfinite(samples).all(axis=(1, 2))).tolist()
        limit = " (float32 ends at 3.4e38)" if np.isfinite(array).all() else ""
        raise ArgumentError(text + (f" in items {items}" if len(array) > 1 else "") + limit)
    return samples


def checked_codes(codes: Any, max_codebooks: int, codebook_size: int, n_items: int | None = None) -> NDArray[np.int64]:
    """Return codes [B, K, T] as int64; raises ValueError unless they are integers in [0, codebook_size).

    `n_items` is the B that they must have; None: any but 0.
    """
    wanted = f"codes must be integers [B, 0..{max_codebooks}, T]"
    array = _array(codes, wanted)
    if array.dtype.kind not in "iu" or array.ndim != 3 or array.shape[1] > max_codebooks:
        raise ArgumentError(f"{wanted}, got {array.dtype} {list(array.shape)}")
    if not len(array):
        raise ArgumentError(f"codes have no items: they are {array.dtype} {list(array.shape)}")
    if n_items not in (None, len(array)):
        raise ArgumentError(f"codes must have {n_items} items as their stream has, got {array.dtype} {list(array.shape)}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < codebook_size:
        raise ArgumentError(f"codes must lie in [0, {codebook_size}), got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def item_count(value: Any) -> int:
    """Return B of an array or tensor [B, ...] of three axes, at least 1; 1 for all else, which is refused later."""
    return max(1, len(value)) if getattr(value, "ndim", None) == 3 else 1


def _array(value: Any, wanted: str) -> NDArray[Any]:
    """Return an array unchanged, and a tensor of torch as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ArgumentError(f"{wanted}, as a tensor or a numpy array, got {kind}")
    return value
