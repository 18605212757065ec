"""Other people's EnCodec with random weights, and files of it in each published layout."""

import json
import math
from pathlib import Path

import torch
from ecdc.bench.encodec_peer import random_encodec, randomize
from ecdc.codec.config import CodecConfig
from ecdc.codec.encodec_configs import ARCHITECTURE_KEYS, ENCODEC_24KHZ, ENCODEC_32KHZ, ENCODEC_48KHZ
from safetensors.torch import load_file, save_file

CONFIGS = {"24 kHz": ENCODEC_24KHZ, "32 kHz": ENCODEC_32KHZ, "48 kHz": ENCODEC_48KHZ}


def audio(n_samples, channels=1, batch_size=1, seed=0):
    """Tones and noise that swell and fade, [B, C, N]."""
    g = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 24_000
    pitch = 80 + 800 * torch.rand(batch_size, channels, 1, generator=g)
    swell = 0.5 + 0.5 * torch.sin(2 * math.pi * 1.7 * time + 6 * torch.rand(batch_size, channels, 1, generator=g))
    noise = torch.randn(batch_size, channels, n_samples, generator=g)
    return swell * (0.3 * torch.sin(2 * math.pi * pitch * time) + 0.1 * noise)


def narrow(config: CodecConfig, n_filters: int = 4, codebook_size: int | None = None, **architecture) -> CodecConfig:
    """The configuration at another width, and with other changes where given."""
    values = config.to_dict()
    values["architecture"] |= {"n_filters": n_filters, **architecture}
    values |= {"name": "narrow", "codebook_size": codebook_size or config.codebook_size}
    return CodecConfig.from_dict(values)


def calibration(config: CodecConfig):
    """Audio that random codebooks are made for."""
    return audio(config.hop_length * 100, config.channels, seed=99)


def original(config: CodecConfig):
    """PyPI encodec's model of a configuration, which is also what audiocraft trains."""
    return random_encodec(config, calibration(config))


def hugging_face(config: CodecConfig):
    """transformers' model of a configuration."""
    from transformers import EncodecConfig, EncodecModel

    values = {theirs: getattr(config.architecture, ours) for ours, (theirs, _) in ARCHITECTURE_KEYS.items()}
    values["upsampling_ratios"] = list(config.architecture.strides)
    model = EncodecModel(
        EncodecConfig(
            **values,
            use_conv_shortcut=not config.architecture.true_skip,
            sampling_rate=config.sample_rate,
            audio_channels=config.channels,
            codebook_size=config.codebook_size,
            target_bandwidths=list(config.bitrates_kbps),
            normalize=config.normalize,
            chunk_length_s=config.segment_seconds,
            overlap=0.01 if config.segment_seconds else None,
        )
    ).eval()
    wav = calibration(config)
    randomize(model.encoder, [layer.codebook for layer in model.quantizer.layers], wav / wav.std() if config.normalize else wav)
    return model


def write_original(model, path: Path) -> Path:
    """As the first release does: a bare state dict."""
    torch.save(model.state_dict(), path)
    return path


def audiocraft_cfg(config: CodecConfig) -> dict:
    """audiocraft's description of a configuration, with the references that its recipes use."""
    a = config.architecture
    seanet = {theirs: getattr(a, ours) for ours, (_, theirs) in ARCHITECTURE_KEYS.items() if "." not in theirs}
    seanet |= {
        "ratios": list(a.strides),
        "causal": "${encodec.causal}",
        "channels": "${channels}",
        "dimension": config.dimension,
    }
    seanet |= {"true_skip": a.true_skip, "activation": "ELU", "activation_params": {"alpha": 1.0}, "encoder": {}}
    seanet |= {"disable_norm_outer_blocks": 0, "norm_params": {}}
    seanet |= {"decoder": {"trim_right_ratio": a.trim_right_ratio, "final_activation": None, "final_activation_params": None}}
    encodec_ = {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}", "channels": "${channels}"}
    return {
        "compression_model": "encodec",
        "sample_rate": config.sample_rate,
        "channels": config.channels,
        "encodec": encodec_ | {"causal": a.causal, "renormalize": config.normalize, "renorm": {"segment": None}},
        "seanet": seanet,
        "rvq": {"n_q": config.n_codebooks, "bins": config.codebook_size, "decay": 0.99},
    }


def write_audiocraft(model, config: CodecConfig, path: Path, **changes) -> Path:
    """As audiocraft exports a model; `changes` replace or add entries of the package."""
    import yaml

    package = {
        "best_state": model.state_dict(),
        "xp.cfg": yaml.safe_dump(audiocraft_cfg(config)),
        "exported": True,
        "version": "1.3",
    }
    torch.save({k: v for k, v in (package | changes).items() if v is not None}, path)
    return path


def write_hugging_face(model, folder: Path, legacy: bool = False) -> Path:
    """As transformers saves a model; `legacy` spells weight norm as its older versions did."""
    model.save_pretrained(folder)
    if legacy:
        words = (("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v"))
        state = load_file(folder / "model.safetensors")
        for new, old in words:
            state = {k.replace(new, old): v for k, v in state.items()}
        save_file(state, folder / "model.safetensors")
        assert "model_type" in json.loads((folder / "config.json").read_text())
    return folder
