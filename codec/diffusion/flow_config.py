"""The configuration and the constants of the multi-band flow. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..config import ConfigError, Strict, check_bounds

TIME_FEATURES = 32
LEVEL_BINS = 9  # over which the local level is averaged
LEVEL_FLOOR = 0.03  # of a companded level; below the noise of 16-bit audio
MAX_GAIN = 2.0  # nepers of companded coefficients: 35 dB
LEVELS = 20  # groups of bins whose levels every band receives
# Limits on what a file can make us allocate and compute.
LIMITS = {"hop_length": 4096, "n_blocks": 64, "depth": 64, "width": 8192, "expand": 16, "kernel_size": 63}
OTHER_BOUNDS = {"dimension": (1, 1 << 14), "spread": (0, 1e3), "steps": (0, 1000)}


@dataclass(frozen=True, slots=True)
class FlowConfig(Strict):
    """The size of the networks, and the noise added to the convolutional decoder's coefficients at the start of the flow."""

    hop_length: int = 320  # samples per frame
    dimension: int = 128  # D of the latents
    n_blocks: int = 4  # short MDCT blocks per frame
    edges: tuple[int, ...] = (0, 40, 80, 160, 320)  # borders of the bands, in units of sample_rate / (2 hop)
    width: int = 192
    depth: int = 4
    expand: int = 3
    kernel_size: int = 7  # frames
    spread: float = 0.6  # standard deviation of the noise at the start, relative to the local level
    steps: int = 2  # default

    def __post_init__(self) -> None:
        for key, most in LIMITS.items():
            if not 1 <= getattr(self, key) <= most:
                raise ConfigError(f"FlowConfig.{key}: 1 to {most}, got {getattr(self, key)}")
        check_bounds(self, OTHER_BOUNDS)
        if self.hop_length % (2 * self.n_blocks) or any(edge % self.n_blocks for edge in self.edges):
            raise ConfigError(f"FlowConfig.n_blocks: must divide half a hop and every edge, got {self.n_blocks}")
        falls = any(a >= b for a, b in pairwise(self.edges))
        if len(self.edges) < 2 or self.edges[0] != 0 or self.edges[-1] != self.hop_length or falls:
            raise ConfigError(f"FlowConfig.edges: must rise from 0 to {self.hop_length}, got {list(self.edges)}")

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        w = self.width
        block = w * (self.kernel_size + 2 * self.expand * w + self.expand + 5)  # convolution, norm, two layers, scale
        found = 0
        for first, last in pairwise(self.edges):
            n_bins = last - first
            inputs = 2 * n_bins + self.dimension + LEVELS + TIME_FEATURES
            found += w * inputs + 2 * w + self.depth * block + 2 * w + 3 * n_bins * (w + 1)
        return found
