"""What streams through a split codec keep between two calls, and what its graphs take besides audio and latents."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import SplitConfig
from ..modules.bands import FLOOR_DB, band_edges
from ..modules.noise_hash import noise_at
from .names import ENCODER, LEVELS
from .split_sizes import hiss_bins, unfinished_windows
from .states import Arrays

if TYPE_CHECKING:
    from .codec import LightCodec


@dataclass
class SplitEncoderState:
    """What a streaming encoder keeps between two calls."""

    samples: NDArray[np.float32]  # [B, n]: received samples that later frames need
    past: Arrays  # inputs of the encoder
    codes: NDArray[np.int64]  # [B, L, n_taps]: of the levels of the last frames


@dataclass
class SplitDecoderState:
    """What a streaming decoder keeps between two calls."""

    past: Arrays  # inputs of the graph
    first_frame: int  # number of the stream's first frame in the whole signal
    n_frames: int = 0  # decoded so far
    ending: NDArray[np.float32] | None = None  # [B, n]: what ends the core if the signal ends here


class GraphEncoder:
    """The graphs of levels and of the encoder, called as NumpySplitEncoder is."""

    def __init__(self, codec: LightCodec) -> None:
        self._codec = codec

    def levels(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the levels [B, T, F] in dB of samples [B, (T + 1) * hop]."""
        levels: NDArray[np.float64] = self._codec.session(LEVELS).run(["levels"], self._audio(samples))[0]
        return levels

    def __call__(
        self, samples: NDArray[np.float32], levels: NDArray[np.float64], base: NDArray[np.float64], past: Arrays
    ) -> tuple[NDArray[np.float64], Arrays]:
        """Encode; see NumpySplitEncoder."""
        names = ["latents", *(f"{name}.out" for name in past)]
        feeds = self._audio(samples) | {"levels": levels, "base": base} | past
        shape, *after = self._codec.session(ENCODER).run(names, feeds)
        return shape, dict(zip(past, after, strict=True))

    @staticmethod
    def _audio(samples: NDArray[np.float32]) -> Arrays:
        return {"wav": samples[:, None], "samples": samples[:, :0]}


def first_encoder_past(config: SplitConfig, batch_size: int) -> Arrays:
    """Return the inputs of an encoder before the first frame of a stream."""
    shape = batch_size, config.kernel_size - 1, config.encoder_width
    return {f"past.{i}": np.zeros(shape) for i in range(config.encoder_depth)}


def first_past(config: SplitConfig, batch_size: int) -> Arrays:
    """Return the inputs of a decoder before the first frame of a stream."""
    hop, step, n_kept = config.core_hop, config.core_hop // config.steps, unfinished_windows(config) + 1
    shapes = {f"past.{i}": (config.kernel_size - 1, config.decoder_width) for i in range(config.decoder_depth)}
    shapes["entries"] = config.level_taps, len(config.level_places) * config.n_levels
    shapes["overlap"] = 2, step * config.core_factor
    past: Arrays = {name: np.zeros((batch_size, *shape), np.float32) for name, shape in shapes.items()}
    n_groups = len(config.gain_groups)
    past["tail"] = np.zeros((batch_size, n_groups + 1, hop), np.float32)
    if config.gain_points:
        past["gain"] = np.zeros((batch_size, 1, n_groups, 1), np.float32)
    past["samples"] = np.zeros((batch_size, (n_kept + 1) * step - hop // 2), np.float32)
    past["first"] = np.ones((batch_size, 1), np.float32)
    past["targets"] = np.zeros((batch_size, n_kept, 2 * config.bands + config.top_bands), np.float32)
    past["targets"][:, :-1, : config.bands + config.top_bands] = FLOOR_DB
    return past


def hiss(config: SplitConfig, first_window: int, n_windows: int) -> Arrays:
    """Return the noise of the bands above the core, for the windows from `first_window` on; nothing if there are none."""
    found = hiss_of(config, np.arange(first_window, first_window + n_windows))
    return {name: array[None] for name, array in found.items()}


def hiss_of(config: SplitConfig, windows: NDArray[np.int64]) -> Arrays:
    """Return the noise of the bands above the core [n, 2 * bins] for windows by their numbers [n], or nothing.

    It is zero above the highest band, where it is not audible.
    """
    if config.core_factor == 1:
        return {}
    n_above, positions = hiss_bins(config), _hiss_positions(config)
    n_used = len(positions) // 2
    noise = np.zeros((len(windows), 2, n_above), np.float32)
    noise[:, :, :n_used] = noise_at(windows, positions, stream=1).reshape(-1, 2, n_used)
    return {"hiss": noise.reshape(-1, 2 * n_above)}


@functools.lru_cache(maxsize=8)
def _hiss_positions(config: SplitConfig) -> NDArray[np.int64]:
    """Return the positions in a window's noise of the bins above the core that are used: real parts, then imaginary parts."""
    n_bins = config.core_window * config.core_factor // 2 + 1
    top = band_edges(config.level_bin_hz, config.bands, config.top_bands)[-1]
    bins = np.arange(n_bins - hiss_bins(config), top)
    return np.concatenate([bins, n_bins + bins])
