"""Matrix products: the fast way gives what the plain one gives, and gradients where they are wanted."""

import pytest
import torch
from ecdc.codec.modules import matmul


@pytest.fixture(params=[True, False], ids=["oneDNN", "MKL"])
def either(request, monkeypatch):
    monkeypatch.setattr(matmul, "HAS_ONEDNN", request.param and matmul.HAS_ONEDNN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_rows", [0, 1, 37])
@torch.no_grad()
def test_products_are_what_they_say(either, dtype, n_rows):
    x, weight, bias = (torch.randn(shape, dtype=dtype) for shape in ((n_rows, 19), (19, 23), (23,)))
    plain = (x.double() @ weight.double() + bias).to(dtype)
    assert torch.allclose(matmul.affine(x, weight, bias), plain, atol=1e-5)
    assert torch.allclose(matmul.affine_onto(bias.expand(n_rows, -1).clone(), x, weight), plain, atol=1e-5)
    layer = torch.nn.Linear(19, 23).to(dtype)
    assert torch.allclose(matmul.linear(x[None], layer), layer(x)[None], atol=1e-5)


def test_gradients_flow_where_they_are_recorded(either):
    x, layer = torch.randn(4, 19, requires_grad=True), torch.nn.Linear(19, 23)
    matmul.affine(matmul.linear(x, layer), torch.ones(23, 2), torch.zeros(2)).sum().backward()
    assert x.grad.abs().min() > 0 and layer.weight.grad.abs().sum() > 0
