"""Matrix products at the speed that the processor has.

PyTorch gives float32 products to MKL, which uses AVX-512 on its own maker's processors
only: on others that have it oneDNN is twice as fast. PyTorch has it aboard, under an
operator of its compiler; where a release lacks that, or the processor AVX-512, MKL does
the work, which is then the faster one by a tenth.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _has_onednn() -> bool:
    """Whether the operator is there, takes what `affine` gives it, and pays."""
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
    """total + x @ weight, perhaps in the memory of `total`: [M, O], [M, I], [I, O] -> [M, O]."""
    if _suits(x):
        return torch.ops.mkldnn._linear_pointwise.binary(x, total, weight.t(), None, "add")  # type: ignore[no-any-return]
    return total.addmm_(x, weight)


def linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    """A linear layer over the last axis."""
    if not _suits(x):
        return layer(x)  # type: ignore[no-any-return]
    return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")  # type: ignore[no-any-return]


def _suits(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # whose own choice is as good, and which does not know this operator's limits
        return False
    is_plain = x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return HAS_ONEDNN and is_plain and not torch.is_grad_enabled()  # the operator has no gradient
