"""Load the codecs that onnxruntime runs: each kind has its class."""

from __future__ import annotations

from pathlib import Path

from ..bundled import WEIGHTS, read_config
from ..config import SeanetConfig, SplitConfig
from .codec import LightCodec, read_tensors
from .names import DECODER, ENCODER, QUANTIZER
from .quantizer import Quantizer


def is_light(folder: Path) -> bool:
    """Return True if a folder holds a codec's graphs beside its weights."""
    has_weights = (folder / WEIGHTS).is_file() or (folder / QUANTIZER).is_file()
    return has_weights and any((folder / name).is_file() for name in (ENCODER, DECODER))


def load_light(folder: Path) -> LightCodec:
    """Load a codec whose folder holds its graphs beside its weights. Raises CheckpointError, with one line."""
    config = read_config(folder)
    path = folder / (QUANTIZER if (folder / QUANTIZER).is_file() else WEIGHTS)
    if isinstance(config.architecture, SplitConfig):
        from .split_codec import SplitLightCodec, load_split_quantizer  # imports only what the model needs

        return SplitLightCodec(config, folder, load_split_quantizer(config, path))
    names = ["quantizer.codebooks", *(["quantizer.scales"] if config.scaled_residuals else [])]
    shapes = (config.n_codebooks, config.codebook_size, config.dimension), (config.codebook_size,)
    arrays = read_tensors(path, dict(zip(names, shapes, strict=False)))
    quantizer = Quantizer(arrays[0], arrays[1] if len(arrays) > 1 else None)
    if isinstance(config.architecture, SeanetConfig):
        from .seanet_codec import SeanetLightCodec

        return SeanetLightCodec(config, folder, quantizer)
    return LightCodec(config, folder, quantizer)
