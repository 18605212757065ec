"""Convert published EnCodec weights to ours.

The original, audiocraft and Hugging Face number their modules alike, but differ in names and in how
they store weight norm. It is applied here with torch's own function, because the same product in
another order differs in the last bit of a third of all weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from .errors import CheckpointError
from .model import Codec
from .modules.conv import Conv, TransposedConv
from .modules.lstm import SkipLstm
from .modules.seanet import ResidualBlock

# From the original's and audiocraft's names to Hugging Face's.
RENAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv\.conv|convtr\.convtr)\.", ".conv."),
    (r"\.(conv|convtr)\.norm\.", ".norm."),
    (r"^quantizer\.vq\.layers\.", "quantizer.layers."),
    (r"\._codebook\.", ".codebook."),
)
WEIGHT_NORM = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
TRAINING_ONLY = re.compile(r"quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)")


class _Source:
    """Published tensors by name; each is taken once and checked."""

    def __init__(self, tensors: Mapping[str, Tensor], where: Path) -> None:
        self._where = where
        self._tensors = {}
        for name, tensor in tensors.items():
            for pattern, word in RENAMES:
                name = re.sub(pattern, word, name)
            self._tensors[name] = tensor

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return the float32 tensor of that name and shape."""
        if name not in self._tensors:
            raise CheckpointError(f"{self._where}: lacks {name}")
        tensor = self._tensors.pop(name)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{self._where}: {name} must be {list(shape)}, got {list(tensor.shape)}")
        return tensor.float()

    def take_weight(self, prefix: str, shape: tuple[int, ...]) -> Tensor:
        """Return the weight of a convolution with weight norm applied; the norm is over all axes but the first."""
        for gain, direction in WEIGHT_NORM:
            if f"{prefix}.{gain}" in self._tensors:
                g = self.take(f"{prefix}.{gain}", (shape[0], 1, 1))
                return torch._weight_norm(self.take(f"{prefix}.{direction}", shape), g, 0)
        return self.take(f"{prefix}.weight", shape)

    def finish(self) -> None:
        """Raise CheckpointError for remaining tensors, except statistics that only training needs."""
        for name in self._tensors:
            if not TRAINING_ONLY.fullmatch(name):
                raise CheckpointError(f"{self._where}: {name} is not part of this model")


def convert(tensors: Mapping[str, Tensor], codec: Codec, where: Path) -> dict[str, Tensor]:
    """Return the state dict of `codec` from published tensors of any layout.

    Raises CheckpointError for missing, unknown and wrongly shaped tensors.
    """
    source = _Source(tensors, where)
    ours: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        number = -1
        for i, layer in enumerate(getattr(codec, side).layers):
            number += 1 if getattr(layer, "elu_alpha", None) is None else 2  # activations count as layers
            ours |= _layer(source, layer, f"{side}.layers.{number}", f"{side}.layers.{i}")
    size, dimension = codec.config.codebook_size, codec.config.dimension
    names = [f"quantizer.layers.{k}.codebook.embed" for k in range(codec.config.n_codebooks)]
    ours["quantizer.codebooks"] = torch.stack([source.take(name, (size, dimension)) for name in names])
    source.finish()
    return ours


def _layer(source: _Source, layer: nn.Module, theirs: str, name: str) -> dict[str, Tensor]:
    """Return our tensors of one layer from those published under `theirs`."""
    if isinstance(layer, SkipLstm):
        return {f"{name}.lstm.{k}": source.take(f"{theirs}.lstm.{k}", tuple(p.shape)) for k, p in layer.lstm.named_parameters()}
    if isinstance(layer, ResidualBlock):
        ours: dict[str, Tensor] = {}
        for i, conv in enumerate(layer.body):
            ours |= _layer(source, conv, f"{theirs}.block.{2 * i + 1}", f"{name}.body.{i}")
        return ours | (_layer(source, layer.skip, f"{theirs}.shortcut", f"{name}.skip") if layer.skip else {})
    assert isinstance(layer, Conv | TransposedConv)
    if isinstance(layer, Conv):
        n_taps, n_in, n_out = layer.weight.shape
        weight = source.take_weight(f"{theirs}.conv", (n_out, n_in, n_taps)).permute(2, 1, 0)
    else:
        _, n_in, stride, n_out = layer.weight.shape
        weight = source.take_weight(f"{theirs}.conv", (n_in, n_out, 2 * stride)).unflatten(2, (2, stride))
        weight = weight.flip(2).permute(2, 0, 3, 1)  # the first half applies to the newer row of a pair
    ours = {f"{name}.weight": weight.contiguous(), f"{name}.bias": source.take(f"{theirs}.conv.bias", (n_out,))}
    if layer.norm is not None:
        ours |= {f"{name}.norm.{k}": source.take(f"{theirs}.norm.{k}", (n_out,)) for k in ("weight", "bias")}
    return ours
