"""Nearest entries: the float64 path with its float32 screen equals plain float64 search."""

import pytest
import torch
from ecdc.codec.quantize.residual import ResidualVQ
from ecdc.codec.quantize.vq import nearest


def brute_force(x, codebook):
    return torch.cdist(x, codebook, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_float64_search_is_exact(scale):
    torch.manual_seed(0)
    x = scale * torch.randn(2000, 16, dtype=torch.float64)
    codebook = scale * torch.randn(256, 16).double()
    assert torch.equal(nearest(x, codebook), brute_force(x, codebook))


def test_near_ties_are_decided_in_float64():
    """Two entries that float32 cannot tell apart, one truly nearer."""
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    codebook = torch.tensor([[1.0 + 1e-9, 1e-3], [1.0, 1e-3 * (1 - 1e-9)]], dtype=torch.float64)
    assert nearest(x, codebook).item() == 1
    assert nearest(x, codebook.flip(0)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_entries_go_to_the_lowest_index(dtype):
    codebook = torch.ones(8, 4, dtype=dtype)
    assert nearest(torch.randn(5, 4, dtype=dtype), codebook).tolist() == [0] * 5


def test_decode_sums_entries_in_order():
    quantizer = ResidualVQ(3, 8, 4)
    quantizer.codebooks.normal_()
    codes = torch.randint(8, (2, 3, 5))
    want = sum(quantizer.codebooks[k][codes[:, k]] for k in range(3)).transpose(1, 2)
    assert torch.equal(quantizer.decode(codes), want)
    assert torch.equal(quantizer.decode(codes[:, :0]), torch.zeros(2, 4, 5))


def random_quantizer(scaled):
    torch.manual_seed(0)
    quantizer = ResidualVQ(4, 32, 8, scaled=scaled)
    for k in range(4):
        quantizer.codebooks[k].normal_().mul_(0.5**k)
    if scaled:
        quantizer.scales.uniform_(0.2, 3)
    return quantizer


@pytest.mark.parametrize("scaled", [False, True])
def test_each_codebook_codes_what_is_left(scaled):
    quantizer = random_quantizer(scaled)
    x = torch.randn(2, 8, 50)
    codes = quantizer.encode(x)
    assert torch.equal(codes[:, :2], quantizer.encode(x, 2))
    left = x - quantizer.decode(codes[:, :1])
    scale = quantizer.scales[codes[:, 0]][:, None] if scaled else 1
    second = nearest((left / scale).transpose(1, 2).reshape(-1, 8), quantizer.codebooks[1]).view(2, 50)
    assert (second == codes[:, 1]).float().mean() > 0.99


@pytest.mark.parametrize("scaled", [False, True])
def test_changed_codebooks_are_noticed(scaled):
    quantizer = random_quantizer(scaled)
    x = torch.randn(1, 8, 20)
    before = quantizer.encode(x)
    quantizer.codebooks.copy_(quantizer.codebooks.flip(1))
    if scaled:
        quantizer.scales.copy_(quantizer.scales.flip(0))
    assert torch.equal(quantizer.encode(x), 31 - before)
