"""The losses of what listeners hear beside spectra, by their names in recipes. They are computed only if they have a weight."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .attacks import attack_loss
from .losses import tile_loss
from .loudness import loudness_loss

# Each compares audio [B, 1, N] twice, estimate and target, at a sample rate: a scalar.
EAR_LOSSES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "tile": tile_loss, "loudness": loudness_loss, "attack": attack_loss,
}  # fmt: skip
