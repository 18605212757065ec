"""Matrix products with the fastest library for the CPU.

PyTorch computes float32 products with MKL, which uses AVX-512 only on Intel CPUs. On other CPUs
with AVX-512, oneDNN is twice as fast. PyTorch includes it as an operator of its compiler. If a
PyTorch release lacks this operator, or the CPU lacks AVX-512, MKL is used; without AVX-512 it is
faster by a tenth.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _has_onednn() -> bool:
    """Return True if the operator exists, accepts the arguments of `affine`, and is faster on this CPU."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        one = torch.ones(1, 1)
        torch.ops.mkldnn._linear_pointwise(one, one, one[0], "none", [], "")
        torch.ops.mkldnn._linear_pointwise.binary(one, one, one, None, "add")
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return bool(torch.backends.mkldnn.is_available())


HAS_ONEDNN = _has_onednn()


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias: [M, I], [I, O], [O] -> [M, O]."""
    if _suits(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight.t(), bias, "none", [], "")  # type: ignore[no-any-return]
    return torch.addmm(bias, x, weight)


def matmul(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight: [M, I], [I, O] -> [M, O]."""
    if _suits(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight.t(), None, "none", [], "")  # type: ignore[no-any-return]
    return x @ weight


def affine_onto(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return total + x @ weight, possibly in the memory of `total`: [M, O], [M, I], [I, O] -> [M, O]."""
    if _suits(x):
        return torch.ops.mkldnn._linear_pointwise.binary(x, total, weight.t(), None, "add")  # type: ignore[no-any-return]
    return total.addmm_(x, weight)


def linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    """Apply a linear layer to the last axis."""
    if not _suits(x):
        return layer(x)  # type: ignore[no-any-return]
    return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")  # type: ignore[no-any-return]


def _suits(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # the compiler's choice is as good, and it does not know this operator's limits
        return False
    is_plain = x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return HAS_ONEDNN and is_plain and not torch.is_grad_enabled()  # the operator has no gradient
