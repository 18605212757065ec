"""A device computes the CPU's tokens, or it does not encode."""

import pytest
import torch
from ecdc.codec import device
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.device import check_signal, moved, on_device
from ecdc.codec.model import Codec


@pytest.fixture
def here(monkeypatch):
    """Pretend that there are devices, which are the CPU."""
    monkeypatch.setattr(device, "is_available", lambda name: True)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *args, to=torch.Tensor.to: self if args[0] in NAMES else to(self, *args)
    )
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args: self)


NAMES = ("cuda", "mps")


@pytest.fixture(scope="module")
def float32_codec():
    config = CodecConfig("small", SeanetConfig(strides=(4, 2), n_filters=2), dimension=8, n_codebooks=2, codebook_size=16)
    return Codec(config).ready()


@pytest.mark.parametrize("name", NAMES)
def test_a_device_that_is_not_there(codec, name):
    if device.is_available(name):
        pytest.skip("it is there")
    for encoding in (False, True):
        with pytest.raises(ValueError, match="not available on this machine"):
            on_device(codec, name, encoding)
    assert on_device(codec, "auto", True) is codec and on_device(codec, "cpu", True) is codec


def test_equal_tokens_are_taken_and_others_refused(codec, here, monkeypatch):
    made = on_device(codec, "cuda", encoding=True)
    assert made is not codec and torch.equal(made.encode(check_signal(codec)), codec.encode(check_signal(codec)))

    def inexact(codec, name):
        other = moved(codec, name)
        other.encoder.out.bias.add_(0.1)
        return other

    monkeypatch.setattr(device, "moved", inexact)
    with pytest.raises(ValueError, match="computes other tokens"):
        on_device(codec, "cuda", encoding=True)
    assert on_device(codec, "auto", encoding=True) is codec
    assert on_device(codec, "cuda", encoding=False) is not codec


def test_tokens_in_float32_stay_on_the_cpu(float32_codec, here):
    with pytest.raises(ValueError, match="float32"):
        on_device(float32_codec, "cuda", encoding=True)
    assert on_device(float32_codec, "auto", encoding=True) is float32_codec
    assert on_device(float32_codec, "cuda", encoding=False) is not float32_codec


def test_mps_decodes_only(codec, here):
    with pytest.raises(ValueError, match="float64"):
        on_device(codec, "mps", encoding=True)
    assert on_device(codec, "mps", encoding=False) is not codec


def test_a_copy_shares_nothing(codec):
    made, wav = moved(codec, "cpu"), check_signal(codec)
    before = codec.encode(wav)
    made.quantizer.codebooks.zero_()
    assert torch.equal(codec.encode(wav), before)
