"""Check the arguments of a codec: tensors and numpy arrays of the right shape, type and values."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..format.errors import ArgumentError

Audio: TypeAlias = "Tensor | NDArray[np.floating[Any]]"  # [B, C, N]
Codes: TypeAlias = "Tensor | NDArray[np.integer[Any]]"  # [B, K, T]


def checked_wav(wav: Audio, channels: int, like: Tensor, n_items: int | None = None) -> Tensor:
    """Return audio [B, channels, N] in the dtype and on the device of `like`.

    `n_items` is the B that it must have; None: any but 0. Raises ValueError unless it is an array of finite floats of that
    shape. Integers are refused, because it is unclear whether they are 16-bit samples or plain values.
    """
    wanted = f"wav must be finite floats [B, {channels}, N]"
    tensor = _tensor(wav, wanted)
    if not tensor.is_floating_point() or tensor.dim() != 3 or tensor.shape[1] != channels:
        raise ArgumentError(f"{wanted}, got {_described(tensor)}")
    if not tensor.shape[0]:
        raise ArgumentError(f"wav has no items: it is {_described(tensor)}")
    if n_items not in (None, tensor.shape[0]):
        raise ArgumentError(f"wav must have {n_items} items as its stream has, got {_described(tensor)}")
    # A compiler cannot check values; the caller of a compiled encoder is responsible for its input.
    if not torch.compiler.is_compiling() and not bool(torch.isfinite(tensor.float()).all()):
        n_bad = int((~torch.isfinite(tensor.float())).sum())
        text = f"{wanted}, got {_described(tensor)} with {n_bad} NaN or infinite samples"
        raise ArgumentError(f"{text} (float32 ends at 3.4e38)" if bool(torch.isfinite(tensor).all()) else text)
    return tensor.to(like.device, like.dtype)


def checked_codes(
    codes: Codes, max_codebooks: int, codebook_size: int, device: torch.device, n_items: int | None = None
) -> Tensor:
    """Return codes [B, K, T] as int64 on a device; raises ValueError unless they are integers in [0, codebook_size).

    `n_items` is the B that they must have; None: any but 0.
    """
    wanted = f"codes must be integers [B, 0..{max_codebooks}, T]"
    tensor = _tensor(codes, wanted)
    is_integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool)
    if not is_integer or tensor.dim() != 3 or tensor.shape[1] > max_codebooks:
        raise ArgumentError(f"{wanted}, got {_described(tensor)}")
    if not tensor.shape[0]:
        raise ArgumentError(f"codes have no items: they are {_described(tensor)}")
    if n_items not in (None, tensor.shape[0]):
        raise ArgumentError(f"codes must have {n_items} items as their stream has, got {_described(tensor)}")
    tensor = tensor.to(device, torch.int64)
    if not torch.compiler.is_compiling() and tensor.numel():
        low, high = (int(end) for end in tensor.aminmax())
        if not 0 <= low <= high < codebook_size:
            raise ArgumentError(f"codes must lie in [0, {codebook_size}), got {low}..{high}")
    return tensor


def _tensor(value: Any, wanted: str) -> Tensor:
    """Return a tensor unchanged, or a numpy array as a tensor, copied only if torch cannot share its memory."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ArgumentError(f"{wanted}, as a tensor or a numpy array, got {kind}")
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(value, requirements=("C", "W")))


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
