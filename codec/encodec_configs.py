"""EnCodec's configurations: the three published ones, and those read from published files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .config import CodecConfig, ConfigError, SeanetConfig
from .errors import CheckpointError

ENCODEC_24KHZ = CodecConfig("encodec_24khz", SeanetConfig())
ENCODEC_48KHZ = CodecConfig(
    "encodec_48khz",
    SeanetConfig(norm="time_group_norm", causal=False),
    sample_rate=48_000,
    channels=2,
    n_codebooks=16,
    bitrates_kbps=(3.0, 6.0, 12.0, 24.0),
    normalize=True,
    segment_seconds=1.0,
)
# The published 32 kHz weights use reflection at the signal's ends; the recipe published with them pads with zeros.
ENCODEC_32KHZ = CodecConfig(
    "encodec_32khz",
    SeanetConfig(strides=(8, 5, 4, 4), n_filters=64, true_skip=True, causal=False),
    sample_rate=32_000,
    n_codebooks=4,
    codebook_size=2048,
    bitrates_kbps=(2.2,),
)
PUBLISHED = {config.name: config for config in (ENCODEC_24KHZ, ENCODEC_48KHZ, ENCODEC_32KHZ)}

# Our key: the key in Hugging Face's config.json, the key under `seanet` in audiocraft's xp.cfg.
ARCHITECTURE_KEYS = {
    "strides": ("upsampling_ratios", "ratios"),
    "n_filters": ("num_filters", "n_filters"),
    "n_residual_layers": ("num_residual_layers", "n_residual_layers"),
    "kernel_size": ("kernel_size", "kernel_size"),
    "last_kernel_size": ("last_kernel_size", "last_kernel_size"),
    "residual_kernel_size": ("residual_kernel_size", "residual_kernel_size"),
    "dilation_base": ("dilation_growth_rate", "dilation_base"),
    "compress": ("compress", "compress"),
    "lstm_layers": ("num_lstm_layers", "lstm"),
    "norm": ("norm_type", "norm"),
    "causal": ("use_causal_conv", "causal"),
    "pad_mode": ("pad_mode", "pad_mode"),
    "trim_right_ratio": ("trim_right_ratio", "decoder.trim_right_ratio"),
}


def hugging_face_config(values: Mapping[str, Any], name: str) -> CodecConfig:
    """Convert a Hugging Face config.json. Missing keys have that library's defaults, which equal ours."""
    if values.get("model_type") != "encodec":
        raise CheckpointError(f"{name}: model_type must be 'encodec', got {values.get('model_type')!r}")
    dimension = values.get("hidden_size", 128)
    if values.get("codebook_dim") not in (None, dimension):
        raise CheckpointError(f"{name}: codebook_dim must be hidden_size, got {values['codebook_dim']} and {dimension}")
    architecture = {ours: values[theirs] for ours, (theirs, _) in ARCHITECTURE_KEYS.items() if theirs in values}
    return _build(
        name,
        architecture | {"true_skip": not values.get("use_conv_shortcut", True)},
        sample_rate=values.get("sampling_rate", 24_000),
        channels=values.get("audio_channels", 1),
        dimension=dimension,
        codebook_size=values.get("codebook_size", 1024),
        bitrates_kbps=values.get("target_bandwidths", ENCODEC_24KHZ.bitrates_kbps),
        normalize=values.get("normalize", False),
        segment_seconds=values.get("chunk_length_s"),
        segment_overlap=values.get("overlap") or 0.01,
    )


def audiocraft_config(values: Mapping[str, Any], name: str) -> CodecConfig:
    """Convert audiocraft's xp.cfg. Raises CheckpointError if keys are missing or the model is not EnCodec."""
    cfg = Lookup(values, name)
    expected = {
        "compression_model": "encodec",
        "encodec.autoencoder": "seanet",
        "encodec.quantizer": "rvq",
        "seanet.activation": "ELU",
        "seanet.disable_norm_outer_blocks": 0,
        "seanet.encoder": {},
        "seanet.decoder.final_activation": None,
    }
    for path, wanted in expected.items():
        if cfg.get(path, wanted) != wanted:
            raise CheckpointError(f"{name}: {path} must be {wanted!r}, got {cfg.get(path)!r}")
    n_codebooks, size = cfg.get("rvq.n_q"), cfg.get("rvq.bins")
    return _build(
        name,
        {ours: cfg.get(f"seanet.{theirs}") for ours, (_, theirs) in ARCHITECTURE_KEYS.items()}
        | {"true_skip": cfg.get("seanet.true_skip"), "elu_alpha": cfg.get("seanet.activation_params", {}).get("alpha", 1.0)},
        sample_rate=cfg.get("encodec.sample_rate"),
        channels=cfg.get("encodec.channels"),
        dimension=cfg.get("seanet.dimension"),
        n_codebooks=n_codebooks,
        codebook_size=size,
        normalize=cfg.get("encodec.renormalize", False),
    )


def _build(name: str, architecture: dict[str, Any], **values: Any) -> CodecConfig:
    """Check every value; use a published model's name if everything else is equal.

    The highest bitrate and the number of codebooks are computed from each other.
    """
    values |= {"name": name, "architecture": {"kind": "seanet", **architecture}}
    try:
        config = CodecConfig.from_dict(values)
        each = config.kbps_per_codebook
        if "n_codebooks" in values:
            config = dataclasses.replace(config, bitrates_kbps=(float(config.n_codebooks * each),))
        else:
            highest = Fraction(config.bitrates_kbps[-1]).limit_denominator(10_000)
            config = dataclasses.replace(config, n_codebooks=max(1, highest // each))
    except ConfigError as error:
        raise CheckpointError(f"{name}: {error}") from error
    same = [known for known in PUBLISHED.values() if dataclasses.replace(known, name=name) == config]
    return same[0] if same else config


class Lookup:
    """Values of nested tables by dotted path; '${a.b}' refers to the value at a.b."""

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self._values, self._name = values, name

    def get(self, path: str, *default: Any, depth: int = 0) -> Any:
        """Return the value at `path`, or the default; raises CheckpointError if there is neither."""
        value: Any = self._values
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                if default:
                    return default[0]
                raise CheckpointError(f"{self._name}: xp.cfg lacks {path}")
            value = value[key]
        reference = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        if reference is None:
            return value
        if depth > 8:
            raise CheckpointError(f"{self._name}: xp.cfg refers in circles at {path}")
        return self.get(reference[1], *default, depth=depth + 1)
