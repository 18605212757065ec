"""The settings of a batch of audio, a part of every recipe that trains on audio."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...codec.config import ConfigError, Strict, check_bounds

BOUNDS = {
    "batch_size": (1, 1 << 16), "micro_batches": (1, 1 << 16), "seconds": (1e-3, 3600), "gain_db": (-200, 200),
    "mix_probability": (0, 1), "band_limit_probability": (0, 1),
}  # fmt: skip


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

    def __post_init__(self) -> None:
        check_bounds(self, BOUNDS)
        if len(self.gain_db) != 2 or self.gain_db[0] > self.gain_db[1]:
            raise ConfigError(f"DataRecipe.gain_db: must be the lowest and the highest gain, got {self.gain_db}")
        for group, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ConfigError(f"DataRecipe.weights.{group}: must be a finite number, 0 or more, got {weight}")
