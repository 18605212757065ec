"""Decoders under torch's tools: compiled, exported and differentiated they give what they give plainly."""

import warnings

import pytest
import torch
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.model import Codec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def encodec():
    """A small untrained codec of EnCodec's kind."""
    torch.manual_seed(0)
    config = CodecConfig(
        "tiny", SeanetConfig(strides=(4, 2), n_filters=4, lstm_layers=1), dimension=8, n_codebooks=4, codebook_size=64
    )
    made = Codec(config)
    made.quantizer.codebooks.normal_()
    return made.ready()


@pytest.fixture(params=["hybrid", "seanet"])
def either(request, codec, encodec):
    return codec if request.param == "hybrid" else encodec


@pytest.fixture
def codes():
    return torch.randint(64, (1, 4, 40), generator=torch.Generator().manual_seed(0))


class Decode(torch.nn.Module):
    def __init__(self, codec):
        super().__init__()
        self.codec = codec

    def forward(self, codes):
        return self.codec.decode(codes)


def test_compiled(either, codes):
    """What a compiler sees has no operator that only the plain path may use; how it compiles them is its own affair."""
    seen = []

    def backend(graph, inputs):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(either.decode, backend=backend)
    for given in (codes, codes.to(torch.uint16)):
        assert torch.allclose(compiled(given), either.decode(given), atol=1e-5)
    assert seen and not any("mkldnn" in name for name in seen)
    torch._dynamo.reset()


@pytest.mark.slow
def test_compiled_by_default(either, codes):
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.allclose(torch.compile(either.decode)(codes), either.decode(codes), atol=1e-5)
    torch._dynamo.reset()


def test_exported(either, codes):
    exported = torch.export.export(Decode(either), (codes,)).module()
    assert torch.allclose(exported(codes), either.decode(codes), atol=1e-5)


def test_exported_for_any_length(codec, codes):
    """Of EnCodec's kind not: torch exports an LSTM for one length."""
    shapes = {"codes": {2: torch.export.Dim("T", min=3, max=4000)}}
    exported = torch.export.export(Decode(codec), (codes,), dynamic_shapes=shapes).module()
    for few in (codes, codes[..., :17]):
        assert torch.allclose(exported(few), codec.decode(few), atol=1e-5)


def test_gradients_reach_latents_and_parameters(either, codes):
    latents = either.quantizer.decode(codes).clone().requires_grad_()
    wav = either.decoder(latents)
    assert torch.allclose(wav, either.decode(codes), atol=1e-5)
    (gradient,) = torch.autograd.grad(wav.square().sum(), latents)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        rise = either.decoder(latents + step).square().sum() - either.decoder(latents - step).square().sum()
    assert rise > 0 and abs(float(rise / (2 * (gradient * step).sum())) - 1) < 0.1
    assert not either.decode(codes).requires_grad
    try:
        either.decoder.requires_grad_(True)
        either.decode(codes).sum().backward()
        assert all(p.grad is not None for p in either.decoder.parameters() if p.numel())
        with torch.no_grad():
            assert not either.decode(codes).requires_grad
    finally:
        either.decoder.requires_grad_(False)
        either.decoder.zero_grad(set_to_none=True)
