"""Configuration of a band of the decoder: its network, its noise schedule, its band processor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..config import ConfigError, Strict

MAX_STEPS = 100_000  # of a schedule
BOTTLENECKS = ("none", "transformer", "bilstm")
N_HEADS = 8  # of the transformer


def _check(owner: Any, limits: dict[str, tuple[float, float]]) -> None:
    """Raise ConfigError for the first value outside its closed interval; NaN is always outside."""
    for key, (low, high) in limits.items():
        value = getattr(owner, key)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{type(owner).__name__}.{key}: must lie in [{low:g}, {high:g}], got {value!r}")


def _check_choice(owner: Any, key: str, known: Collection[str]) -> None:
    if getattr(owner, key) not in known:
        raise ConfigError(f"{type(owner).__name__}.{key}: one of {', '.join(known)}, got {getattr(owner, key)!r}")


@dataclass(frozen=True, slots=True)
class UnetConfig(Strict):
    """A diffusion network over waveforms (unet.py)."""

    channels: int = 1  # C
    hidden: int = 48  # width of the outermost level
    depth: int = 4  # levels
    growth: float = 4.0  # of the width, from level to level
    max_width: int = 10_000
    kernel_size: int = 8
    stride: int = 4  # of every level
    norm_groups: int = 4
    res_blocks: int = 1  # per level and side
    dropout: float = 0.0  # in training only
    n_steps: int = 1000  # number of different times that the network supports
    times_everywhere: bool = True  # every level receives the time; otherwise only the outermost
    bottleneck: str = "none"  # none | transformer | bilstm; with none, only the skip connection passes the deepest level
    cross_attention: bool = False  # the transformer attends to the condition; otherwise it is added
    condition_dim: int | None = 128  # D of the codec's latents; None: unconditional

    def __post_init__(self) -> None:
        size = (1, 1 << 16)
        _check(
            self,
            {
                "channels": (1, 64), "hidden": size, "depth": (1, 12), "growth": (0.01, 64), "max_width": size,
                "kernel_size": (1, 1024), "stride": (1, 64), "norm_groups": size, "res_blocks": (0, 16), "dropout": (0, 1),
                "n_steps": (1, MAX_STEPS), "condition_dim": size,
            },
        )  # fmt: skip
        _check_choice(self, "bottleneck", BOTTLENECKS)
        if self.kernel_size < self.stride:
            raise ConfigError(f"UnetConfig.kernel_size: at least the stride, got {self.kernel_size} and {self.stride}")
        if self.cross_attention and (self.bottleneck != "transformer" or self.condition_dim is None):
            raise ConfigError("UnetConfig.cross_attention: needs a transformer and a condition")
        if any(w < 1 or w % self.norm_groups for w in self.widths):
            raise ConfigError(f"UnetConfig.norm_groups: must divide the widths {list(self.widths)}, got {self.norm_groups}")
        if self.bottleneck == "transformer" and self.widths[-1] % (2 * N_HEADS):
            raise ConfigError(
                f"UnetConfig.bottleneck: a transformer's width is a multiple of {2 * N_HEADS}, got {self.widths[-1]}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, outermost first. Each is rounded down before the next one is computed from it."""
        found = [self.hidden]
        for _ in range(self.depth - 1):
            found.append(min(int(found[-1] * self.growth), self.max_width))
        return tuple(found)

    @property
    def total_stride(self) -> int:
        """Samples per step of the bottleneck."""
        return self.stride**self.depth


@dataclass(frozen=True, slots=True)
class ScheduleConfig(Strict):
    """How noise replaces the signal over time (schedule.py)."""

    n_steps: int = 1000
    first_beta: float = 1e-5  # share of the variance that the first step replaces by noise
    last_beta: float = 2.9e-2
    power: float = 7.5  # betas to the power of 1/p are evenly spaced
    clip: float | None = 5.0  # samples are limited to this magnitude; None: no limit
    rescale: float = 1.0  # training divides the signal by this
    noise_scale: float = 1.0  # and multiplies the noise by this

    def __post_init__(self) -> None:
        _check(
            self,
            {
                "n_steps": (2, MAX_STEPS), "first_beta": (1e-12, 0.999), "last_beta": (self.first_beta, 0.999),
                "power": (1e-3, 1e3), "clip": (1e-6, 1e6), "rescale": (1e-6, 1e6), "noise_scale": (1e-6, 1e6),
            },
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProcessorConfig(Strict):
    """How loud each mel band is during diffusion (bands.py)."""

    n_bands: int = 8
    power: float = 1.0  # 1: as loud as white noise; 0: unchanged
    n_fit: int = 10_000  # signals that the statistics are measured on

    def __post_init__(self) -> None:
        _check(self, {"n_bands": (2, 128), "power": (0, 16), "n_fit": (1, 1 << 40)})


@dataclass(frozen=True, slots=True)
class BandConfig(Strict):
    """One band: a network, its schedule, and optionally a processor."""

    unet: UnetConfig
    schedule: ScheduleConfig
    processor: ProcessorConfig | None = None

    def __post_init__(self) -> None:
        if self.schedule.n_steps > self.unet.n_steps:
            raise ConfigError(f"BandConfig: the schedule has {self.schedule.n_steps} steps, the network {self.unet.n_steps}")


@dataclass(frozen=True, slots=True)
class DiffusionConfig(Strict):
    """A decoder: its bands, whose outputs are summed."""

    sample_rate: int  # Hz
    bands: tuple[BandConfig, ...]

    def __post_init__(self) -> None:
        _check(self, {"sample_rate": (1000, 768_000)})
        if not 1 <= len(self.bands) <= 64:
            raise ConfigError(f"DiffusionConfig.bands: 1 to 64, got {len(self.bands)}")
        if len({(band.unet.channels, band.unet.condition_dim) for band in self.bands}) > 1:
            raise ConfigError("DiffusionConfig.bands: all must have the same channels and condition")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal object."""
        return {"sample_rate": self.sample_rate, "bands": [band.to_dict() for band in self.bands]}
