"""Linear layers without bias, in float32 or with weights of eight bits."""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from ...codec.modules.matmul import matmul

FEW_ROWS = 16
PACKED_ROWS = 16  # with more rows than these, unpacking the weights once is faster than torch's packed product


class Linear(nn.Linear):
    """[..., I] -> [..., O], by the fastest product that the processor has."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        return product(x, self.weight)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight^T: [..., I], [O, I] -> [..., O], by the fastest product that the processor has.

    Few rows take as long as reading the weight, which oneDNN copies into an order of its own first.
    """
    rows = x.reshape(-1, x.shape[-1])
    found = nn.functional.linear(rows, weight) if len(rows) <= FEW_ROWS else matmul(rows, weight.t())
    return found.view(*x.shape[:-1], -1)


class Int8Linear(nn.Module):
    """The same with integer weights and one scale per output: a quarter of the memory that each step must read.

    Few rows are multiplied in bfloat16, which is what torch's packed product is fast in; what
    comes out is float32 again. Of a float32 layer it keeps seven bits of weight and eight of input.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", torch.empty(n_out, n_in, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(n_out, dtype=torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > PACKED_ROWS:
            return torch.nn.functional.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        product = torch._weight_int8pack_mm(rows.to(torch.bfloat16), self.weight, self.scale)
        return product.to(x.dtype).view(*x.shape[:-1], -1)


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight [O, I] as int8 [O, I] and bfloat16 scales [O], so that weight is about int8 * scale."""
    weight = weight.float()
    scale = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12).to(torch.bfloat16)
    return (weight / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def hollow_int8(module: nn.Module) -> None:
    """Replace every Linear inside by an Int8Linear of its shape, to be filled by `quantized` weights."""
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
            setattr(module, name, small)
        else:
            to_int8(child)
    return module
