"""Many live streams of a split codec that step together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import SplitConfig
from ..modules.noise_hash import noise_of
from .batch import WindowBatch
from .names import DECODER
from .split_sizes import dropped_samples, unfinished_windows
from .split_states import GraphEncoder, first_encoder_past, first_past, hiss_of
from .states import Arrays

if TYPE_CHECKING:
    from .codec import LightCodec


class SplitBatch(WindowBatch):
    """Streams of a split codec. See StreamBatch."""

    def __init__(self, codec: LightCodec, n_streams: int) -> None:
        assert isinstance(codec.config.architecture, SplitConfig)
        self._split = codec.config.architecture
        self.decoder_delay = dropped_samples(self._split)
        super().__init__(codec, n_streams, 2 * codec.config.hop_length)

    def _first(self, n: int) -> tuple[Arrays, Arrays]:
        past = first_encoder_past(self._split, n) | {"codes": self._codec.quantizer.levels.search.first_past(n)}
        age, samples = np.zeros(n, np.int64), np.zeros((n, self._n_kept), np.float32)
        return {"age": age, "samples": samples, **past}, {"age": age.copy(), "number": age.copy(), **first_past(self._split, n)}

    def _encoded(self, samples: NDArray[np.float32], past: Arrays) -> tuple[NDArray[np.float64], Arrays]:
        codec, taken = self._codec, np.ascontiguousarray(samples)
        encoder = codec.numpy_encoder or GraphEncoder(codec)
        levels = encoder.levels(taken)
        known = past.pop("codes").copy()  # the search updates it
        codes, base = codec.quantizer.levels.search(levels, known)
        shape, after = encoder(taken, levels, base, past)
        return np.concatenate([shape, codes.transpose(0, 2, 1)], axis=2), after | {"codes": known}

    def _audio(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        config, state = self._split, self._decoding
        age, hop = state["age"], config.hop_length
        past = {name: array for name, array in state.items() if name not in ("age", "number")}
        frames, places = np.unique(state["number"] + age, return_inverse=True)  # streams at one frame have the same noise
        windows = (frames[:, None] * config.steps - unfinished_windows(config) + np.arange(config.steps)).ravel()
        feeds = {"noise": noise_of(frames, 2 * config.core_hop)[:, None]}
        feeds |= {name: array.reshape(len(frames), config.steps, -1) for name, array in hiss_of(config, windows).items()}
        if len(frames) > 1:  # otherwise a batch of one serves all
            feeds = {name: array[places] for name, array in feeds.items()}
        names = ["wav", *(f"{name}.out" for name in past)]
        wav, *after = self._codec.session(DECODER).run(names, {"latents": np.ascontiguousarray(latents), **feeds, **past})
        state.update(zip(past, after, strict=True))
        is_early = age[:, None] * hop + np.arange(hop) < self.decoder_delay  # comes before the signal
        return np.where(is_early[:, None], np.float32(0), wav) if is_early.any() else wav
