"""Small diffusion decoders and codecs, and the published file layout."""

from __future__ import annotations

import torch
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.diffusion.config import BandConfig, DiffusionConfig, ProcessorConfig, ScheduleConfig, UnetConfig
from ecdc.codec.diffusion.decoder import MultiBandDiffusion
from ecdc.codec.model import Codec

DIMENSION = 8  # D of the small codecs


def small_codec(sample_rate=24_000):
    """An untrained codec of EnCodec's kind, 75 or 50 frames a second."""
    strides = {24_000: (8, 5, 4, 2), 32_000: (8, 5, 4, 4)}[sample_rate]
    torch.manual_seed(0)
    config = CodecConfig(
        "small", SeanetConfig(strides=strides, n_filters=2, lstm_layers=1), sample_rate=sample_rate, dimension=DIMENSION,
        n_codebooks=4, codebook_size=16, bitrates_kbps=(1.2,),
    )  # fmt: skip
    codec = Codec(config).ready()
    codec.quantizer.codebooks.normal_()
    return codec


def codes_for(codec, n_items, n_frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codec.config.codebook_size, (n_items, codec.config.n_codebooks, n_frames), generator=generator)


def cfg(**changes):
    """A band's configuration in audiocraft's words; `unet__depth=2` changes diffusion_unet.depth."""
    values = {
        "channels": 1,
        "schedule": {
            "repartition": "power", "beta_t0": 1e-5, "beta_t1": 2.9e-2, "beta_exp": 7.5, "num_steps": 1000, "variance": "beta",
            "clip": 5.0, "rescale": 1.0, "n_bands": None, "noise_scale": 1.0, "variable_step_batch": True,
        },
        "diffusion_unet": {
            "hidden": 8, "depth": 3, "growth": 2.0, "kernel": 8, "stride": 4, "norm_groups": 4, "res_blocks": 1, "dropout": 0.0,
            "emb_all_layers": True, "bilstm": False, "transformer": False, "cross_attention": False, "codec_dim": DIMENSION,
            "max_channels": 10000,
        },
        "processor": {"use": False, "name": "multi_band_processor", "n_bands": 8, "num_samples": 10000, "power_std": 1.0},
    }  # fmt: skip
    tables = {"unet": "diffusion_unet", "schedule": "schedule", "processor": "processor"}
    for name, value in changes.items():
        table, _, key = name.partition("__")
        if key:
            values[tables[table]][key] = value
        else:
            values[name] = value
    return values


def small_model(sample_rate=24_000, n_bands=2, processor=False, seed=0, **unet):
    """An untrained decoder for `small_codec`, whose norms and processors are not the identity."""
    torch.manual_seed(seed)
    options = {"hidden": 8, "depth": 2, "growth": 2.0, "condition_dim": DIMENSION} | unet
    band = BandConfig(UnetConfig(**options), ScheduleConfig(), ProcessorConfig() if processor else None)
    model = MultiBandDiffusion(DiffusionConfig(sample_rate, (band,) * n_bands))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.2)
    for band in model.bands:
        if band.processor is not None:
            band.processor.observe(0.1 * torch.randn(4, 1, sample_rate // 4))
    return model.eval().requires_grad_(False)
