"""What the processor is good at."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16; others take ten times as long for it as for float32."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def on_host(tensor: Tensor) -> bool:
    """Whether a tensor lies in the memory of the CPU: reading a number of it then costs nothing."""
    return tensor.device.type == "cpu"
