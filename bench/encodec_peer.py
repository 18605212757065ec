"""PyPI's EnCodec with random weights: what ours is held against without anybody's checkpoint."""

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

GAIN = 2.0  # of the encoder's weights: as torch initializes them, little of a signal is left beside the biases
SHRINK = 0.4  # of residuals into codebook entries, so that each codebook leaves work to the next


def import_encodec() -> ModuleType:
    """The package `encodec`, with an empty torchaudio in place of one that cannot be imported: it only reads files with it."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        for name in ("torchaudio", "torchaudio.transforms"):
            sys.modules[name] = importlib.util.module_from_spec(ModuleSpec(name, loader=None))
        sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    return importlib.import_module("encodec")


def random_encodec(config: CodecConfig, calibration: Tensor) -> Any:
    """The peer's model of a SEANet configuration, its codebooks made for audio [1, C, N] such as `calibration`.

    The random numbers are those of torch's default generator.
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
        warnings.simplefilter("ignore")  # torch is about to drop the weight_norm that the package uses
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
    """Let the signal through an encoder, and draw each codebook from what those before it leave over of the latents."""
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
