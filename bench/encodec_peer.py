"""PyPI's EnCodec with random weights: the reference implementation for comparisons without a published checkpoint."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ..codec.config import CodecConfig, SeanetConfig

GAIN = 2.0  # of the encoder's weights: with torch's initialization, the biases would dominate the signal
SHRINK = 0.4  # scale from residuals to codebook entries, so that each codebook leaves a residual for the next


def import_encodec() -> ModuleType:
    """Import the package `encodec`; if torchaudio cannot be imported, an empty module replaces it: it only reads files."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        for name in ("torchaudio", "torchaudio.transforms"):
            sys.modules[name] = importlib.util.module_from_spec(ModuleSpec(name, loader=None))
        sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    return importlib.import_module("encodec")


def random_encodec(config: CodecConfig, calibration: Tensor) -> Any:
    """Return PyPI's model for a SEANet configuration, with codebooks that fit audio like `calibration` [1, C, N].

    Random numbers come from torch's default generator.
    """
    package, architecture = import_encodec(), config.architecture
    assert isinstance(architecture, SeanetConfig)
    shape = {
        "channels": config.channels,
        "dimension": config.dimension,
        "n_filters": architecture.n_filters,
        "ratios": list(architecture.strides),
        "norm": architecture.norm,
        "causal": architecture.causal,
        "true_skip": architecture.true_skip,
        "pad_mode": architecture.pad_mode,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the weight_norm that the package uses
        model = package.EncodecModel(
            package.modules.SEANetEncoder(**shape),
            package.modules.SEANetDecoder(**shape),
            package.quantization.ResidualVectorQuantizer(config.dimension, config.n_codebooks, config.codebook_size),
            list(config.bitrates_kbps),
            config.sample_rate,
            config.channels,
            config.normalize,
            config.segment_seconds,
        ).eval()
    if config.normalize:
        calibration = calibration / calibration.std()
    randomize(model.encoder, [layer._codebook for layer in model.quantizer.vq.layers], calibration)
    return model


@torch.no_grad()
def randomize(encoder: nn.Module, codebooks: list[nn.Module], calibration: Tensor) -> None:
    """Scale the encoder's weights so that the signal passes, and draw each codebook from the residual of those before it."""
    for name, parameter in encoder.named_parameters():
        if name.endswith(("weight_g", "original0")):
            parameter.mul_(GAIN * (0.9 + 0.2 * torch.rand_like(parameter)))
    residual = encoder(calibration)[0].T  # [T, D]
    for codebook in codebooks:
        entries = residual[torch.randint(len(residual), (len(codebook.embed),))]  # type: ignore[arg-type]
        entries = SHRINK * (entries + 0.3 * residual.std() * torch.randn_like(entries))
        codebook.embed.copy_(entries)  # type: ignore[operator, union-attr]
        codebook.inited.fill_(1)  # type: ignore[operator, union-attr]
        residual = residual - entries[torch.cdist(residual, entries).argmin(1)]
