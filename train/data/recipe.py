"""The settings of a batch of audio, a part of every recipe that trains on audio."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...codec.config import Strict


@dataclass(frozen=True, slots=True)
class DataRecipe(Strict):
    """The contents of a batch."""

    batch_size: int = 12
    micro_batches: int = 1  # parts of a batch whose gradients are accumulated, to save memory
    seconds: float = 1.0  # per item
    weights: dict[str, float] = field(default_factory=dict)  # group -> weight; groups that are not listed have weight 1
    gain_db: tuple[float, ...] = (-14.0, 4.0)
    mix_probability: float = 0.1  # of adding another item of the batch
    band_limit_probability: float = 0.0  # of removing everything above a random edge
