"""The network over rows gives what the network of layers gives."""

import pytest
import torch
from ecdc.codec.diffusion import unet_fast
from ecdc.codec.diffusion.config import UnetConfig
from ecdc.codec.diffusion.unet import DiffusionUnet
from mbd_models import DIMENSION

CASES = {
    "as published": {},
    "two blocks": {"res_blocks": 2, "depth": 3},
    "no blocks": {"res_blocks": 0},
    "one level": {"depth": 1},
    "two channels": {"channels": 2},
    "time at the outermost level": {"times_everywhere": False},
    "another stride": {"kernel_size": 6, "stride": 2, "depth": 4},
    "a kernel as long as the stride": {"kernel_size": 4},
    "a kernel of one stride and a half": {"kernel_size": 6},
    "unconditional, with an LSTM": {"bottleneck": "bilstm", "condition_dim": None},
    "cross attention": {"bottleneck": "transformer", "cross_attention": True, "hidden": 16, "growth": 1.0},
}


def network(**changes):
    torch.manual_seed(0)
    options = {"hidden": 8, "depth": 2, "growth": 2.0, "condition_dim": DIMENSION} | changes
    unet = DiffusionUnet(UnetConfig(**options)).eval()
    for name, parameter in unet.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.2)
    return unet


@pytest.fixture(params=[True, False], ids=["in place", "out of place"])
def small_blocks(request, monkeypatch):
    """Many blocks of a short signal, by either kind of product."""
    for name, value in {
        "LEAST_NUMBERS": 0,
        "BLOCK": 256,
        "LEAST_ROWS": 20,
        "FOLDED_ROWS": 3,
        "IN_PLACE": request.param,
    }.items():
        monkeypatch.setattr(unet_fast, name, value)


@pytest.mark.parametrize("n_samples", [2, 517, 2048])
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_rows_give_what_layers_give(changes, n_samples, small_blocks):
    unet = network(**changes)
    x, times = torch.randn(2, unet.config.channels, n_samples), torch.tensor([3, 700])
    condition = None if unet.config.condition_dim is None else torch.randn(2, DIMENSION, max(1, n_samples // 320))
    wanted = unet(x, times, condition).detach()  # with gradients: by layers
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    with torch.no_grad():
        assert unet_fast.suits(unet, x)
        found = unet(x, times, condition)
    assert found.shape == wanted.shape and float(wanted.std()) > 0.05
    assert torch.allclose(found, wanted, rtol=0, atol=2e-5 * max(1.0, float(wanted.abs().max())))
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


@torch.no_grad()
def test_moments_stay_exact_far_from_zero(small_blocks):
    norm = torch.nn.GroupNorm(4, 16)
    signal = unet_fast.Rows(1001, 16)
    signal.rows.copy_(100 + torch.randn(1001, 16))
    for i, j in signal.blocks():
        signal.measure(i, j)
    gains, offsets = signal.normalization(norm)
    wanted = norm.double()(signal.rows.t()[None].double())[0].t()
    assert torch.allclose((signal.rows * gains + offsets).double(), wanted, rtol=0, atol=5e-4)


def test_what_rows_cannot_do_is_left_to_the_layers():
    unet, x = network(), torch.randn(1, 1, 1 << 18)
    with torch.no_grad():
        assert unet_fast.suits(unet, x)
        assert not unet_fast.suits(unet, x[..., :5000]) and not unet_fast.suits(unet.double(), x.double())
        assert not unet_fast.suits(network(kernel_size=7), x) and not unet_fast.suits(unet.train(), x)
    assert not unet_fast.suits(network(), x)  # gradients
