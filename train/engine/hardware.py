"""What the CPU supports."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """Return True if this CPU multiplies in bfloat16; others take ten times as long for it as for float32."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def on_host(tensor: Tensor) -> bool:
    """Return True if a tensor is in CPU memory, so that reading a value from it is cheap."""
    return tensor.device.type == "cpu"
