"""What callers hand to a codec, checked: tensors and numpy arrays of the right shape, type and values."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Audio: TypeAlias = "Tensor | NDArray[np.floating[Any]]"  # [B, C, N]
Codes: TypeAlias = "Tensor | NDArray[np.integer[Any]]"  # [B, K, T]


def checked_wav(wav: Audio, channels: int, like: Tensor) -> Tensor:
    """Audio [B, channels, N] in the dtype and on the device of `like`.

    Raises ValueError unless it is an array of finite floats of that shape: integers would be taken for full-scale samples
    of a 16-bit file or for what they are, and nobody could tell which.
    """
    wanted = f"wav must be finite floats [B, {channels}, N]"
    tensor = _tensor(wav, wanted)
    if not tensor.is_floating_point() or tensor.dim() != 3 or tensor.shape[1] != channels:
        raise ValueError(f"{wanted}, got {_described(tensor)}")
    # A compiler cannot look at values: whoever compiles an encoder vouches for its input.
    if not torch.compiler.is_compiling() and not bool(torch.isfinite(tensor).all()):
        n_bad = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{wanted}, got {_described(tensor)} with {n_bad} NaN or infinite samples")
    return tensor.to(like.device, like.dtype)


def checked_codes(codes: Codes, max_codebooks: int, codebook_size: int, device: torch.device) -> Tensor:
    """Codes [B, K, T] as int64 on a device; raises ValueError unless they are integers of that shape in [0, codebook_size)."""
    wanted = f"codes must be integers [B, 0..{max_codebooks}, T]"
    tensor = _tensor(codes, wanted)
    is_integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)
    if not is_integer or tensor.dim() != 3 or tensor.shape[1] > max_codebooks:
        raise ValueError(f"{wanted}, got {_described(tensor)}")
    tensor = tensor.to(device, torch.int64)
    if not torch.compiler.is_compiling() and tensor.numel():
        low, high = (int(end) for end in tensor.aminmax())
        if not 0 <= low <= high < codebook_size:
            raise ValueError(f"codes must lie in [0, {codebook_size}), got {low}..{high}")
    return tensor


def _tensor(value: Any, wanted: str) -> Tensor:
    """A tensor as it is; a numpy array as one, copied only where torch could not share it."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ValueError(f"{wanted}, as a tensor or a numpy array, got {kind}")
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(value, requirements=("C", "W")))


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
