"""Small SEANet codecs with random weights."""

import torch
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.model import Codec
from encodec_models import audio

KINDS = {
    "as at 24 kHz": {},
    "as at 32 kHz": {"causal": False, "true_skip": True, "norm": "none"},
    "not causal, odd strides": {"causal": False, "strides": (5, 3)},
    "zeros at the ends": {"pad_mode": "constant"},
    "zeros at the ends, not causal": {"pad_mode": "constant", "causal": False},
    "trimmed on both sides": {"trim_right_ratio": 0.5},
    "dilated": {"n_residual_layers": 3, "lstm_layers": 0},
    "dilated, not causal": {"n_residual_layers": 2, "causal": False, "lstm_layers": 1, "strides": (3, 2, 2)},
}


def small_codec(kind):
    torch.manual_seed(0)
    architecture = SeanetConfig(**{"strides": (4, 2), "n_filters": 8} | KINDS[kind])
    rates = tuple(24_000 / architecture.hop_length * 6 * k / 1000 for k in range(1, 5))
    codec = Codec(
        CodecConfig("small", architecture, dimension=16, n_codebooks=4, codebook_size=64, bitrates_kbps=rates)
    ).ready()
    for parameter in codec.encoder.parameters():
        parameter.mul_(1.5)
    with torch.no_grad():
        latents = codec.encoder(audio(4000))
    for k in range(4):
        codec.quantizer.codebooks[k] = latents.std() * 0.7**k * torch.randn(64, 16)
    return codec
