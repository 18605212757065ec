"""Linear layers without bias, with float32 or eight-bit weights."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ...codec.modules.matmul import matmul
from . import int8_kernels

FEW_ROWS = 16
PACKED_ROWS = 16  # for more rows, unpacking the weights once is faster than torch's packed product
QUANTIZED_ROWS = 64  # at a time, so that temporary values do not fragment memory


class Linear(nn.Linear):
    """[..., I] -> [..., O], with the fastest product on this CPU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        return product(x, self.weight)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight^T: [..., I], [O, I] -> [..., O], with the fastest product on this CPU.

    For few rows the time is that of reading the weight, which oneDNN would first copy into its own layout.
    """
    rows = x.reshape(-1, x.shape[-1])
    found = nn.functional.linear(rows, weight) if len(rows) <= FEW_ROWS else matmul(rows, weight.t())
    return found.view(*x.shape[:-1], -1)


class Int8Linear(nn.Module):
    """Like Linear, with integer weights and one scale per output: a quarter of the memory to read in each step.

    If the CPU multiplies integers, inputs have sixteen bits, split into two rows of eight bits for
    one integer product, which takes no longer than reading the weights. Otherwise few rows are
    multiplied in bfloat16, for which torch's packed product is fast. The output is float32. `ready`
    moves `weight` into the layout of integer products; `weight` is empty afterwards.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.in_features, self.out_features = n_in, n_out
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", torch.empty(n_out, n_in, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(n_out, dtype=torch.bfloat16))
        self._packed: tuple[Tensor, Tensor, Tensor] | None = None  # weight, scales, zeros in oneDNN's layout

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        rows = x.reshape(-1, x.shape[-1])
        if self.ready() and self._packed is not None:
            return _integer_product(rows.float(), *self._packed).to(x.dtype).view(*x.shape[:-1], -1)
        if len(rows) > PACKED_ROWS:
            return torch.nn.functional.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        found = torch._weight_int8pack_mm(rows.to(torch.bfloat16), self.weight, self.scale)
        return found.to(x.dtype).view(*x.shape[:-1], -1)

    def ready(self) -> bool:
        """Move the weight into the layout of the CPU's integer product; return False if the CPU has none."""
        if self._packed is None and len(self.weight) and self.weight.device.type == "cpu" and _has_integer_products():
            self._packed = _packed(self.weight, self.scale)
            self.weight = self.weight.new_empty(0)
        return self._packed is not None


def _packed(weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a weight int8 [O, I] and its scales [O] in the layout of oneDNN."""
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    return torch.ops.onednn.qlinear_prepack(weight, [4, weight.shape[1]]), scale.float(), zeros


def _integer_product(rows: Tensor, weight: Tensor, scale: Tensor, zeros: Tensor) -> Tensor:
    """Multiply float32 [R, I] by a packed weight -> float32 [R, O]. The two bytes of an input are separate rows."""
    n_rows = len(rows)
    pairs, largest = torch.empty(2, *rows.shape, dtype=torch.uint8), np.empty(n_rows, np.float32)
    int8_kernels.split(rows.detach().contiguous().numpy(), pairs.numpy(), largest)
    products: Tensor = torch.ops.onednn.qlinear_pointwise(
        pairs.view(2 * n_rows, -1), 1 / int8_kernels.LARGEST, 128, weight, scale, zeros, None, 1.0, 0, torch.float32,
        "none", [], "",
    )  # fmt: skip
    int8_kernels.join(products.numpy(), largest)
    return products[:n_rows]


@functools.cache
def _has_integer_products() -> bool:
    """Return True if torch has the operators and the CPU adds products of bytes without saturating."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        rows, weight = torch.ones(2, 64), torch.full((32, 64), 127, dtype=torch.int8)
        found = _integer_product(rows, *_packed(weight, torch.ones(32)))
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return bool(torch.allclose(found, torch.tensor(64 * 127.0), rtol=1e-4))


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a weight [O, I] to int8 [O, I] and bfloat16 scales [O], so that weight is about int8 * scale."""
    integers, scales = torch.empty(weight.shape, dtype=torch.int8), torch.empty(len(weight), dtype=torch.bfloat16)
    for i in range(0, len(weight), QUANTIZED_ROWS):
        rows = weight[i : i + QUANTIZED_ROWS].float()
        scale = (rows.abs().amax(dim=1) / 127).clamp(min=1e-12).to(torch.bfloat16)
        integers[i : i + QUANTIZED_ROWS] = (rows / scale.float()[:, None]).round_().clamp_(-127, 127)
        scales[i : i + QUANTIZED_ROWS] = scale
    return integers, scales


def hollow_int8(module: nn.Module) -> None:
    """Replace every Linear inside by an empty Int8Linear of its shape, to be filled with `quantized` weights."""
    for name, child in module.named_children():
        if isinstance(child, Linear):
            setattr(module, name, Int8Linear(child.in_features, child.out_features))
        else:
            hollow_int8(child)


def to_int8(module: nn.Module) -> nn.Module:
    """Quantize every Linear inside, in place; returns the module."""
    for name, child in module.named_children():
        if isinstance(child, Linear):
            small = Int8Linear(child.in_features, child.out_features)
            small.weight, small.scale = quantized(child.weight.detach())
            small.ready()
            setattr(module, name, small)
        else:
            to_int8(child)
    return module
