"""Many live streams of a hybrid codec that step together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import HybridConfig
from ..modules.noise_hash import noise_of
from .batch import WindowBatch
from .names import DECODER, ENCODER
from .states import Arrays, DecoderState, EncoderState, noise_size, step_decoder, step_encoder

if TYPE_CHECKING:
    from .codec import LightCodec


class HybridBatch(WindowBatch):
    """Streams of a hybrid codec. See StreamBatch."""

    def __init__(self, codec: LightCodec, n_streams: int) -> None:
        config = codec.config
        assert isinstance(config.architecture, HybridConfig)
        self._hybrid, hop = config.architecture, config.hop_length
        self.decoder_delay = self._hybrid.lookahead * hop + hop // 2
        super().__init__(codec, n_streams, self._hybrid.encoder_window * hop)

    def _first(self, n: int) -> tuple[Arrays, Arrays]:
        encoder = EncoderState.first(self._hybrid, n)
        decoder = DecoderState.first(self._hybrid, self._config.dimension, n)
        held = np.zeros((n, self._hybrid.lookahead, self._config.dimension), np.float32)
        age, samples = np.zeros(n, np.int64), np.zeros((n, self._n_kept), np.float32)
        number = {"number": age.copy()} if noise_size(self._hybrid) else {}
        return {"age": age, "samples": samples, **encoder.past}, {"age": age.copy(), "held": held, **number, **decoder.past}

    def _encoded(self, samples: NDArray[np.float32], past: Arrays) -> tuple[NDArray[np.float64], Arrays]:
        codec, hop = self._codec, self._config.hop_length
        return step_encoder(lambda: codec.session(ENCODER), samples[:, None], past, codec.numpy_encoder, hop, self._window)

    def _audio(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        state, first = self._decoding, self._hybrid.lookahead
        known = np.concatenate([state["held"], latents], axis=1)
        past = {name: array for name, array in state.items() if name not in ("age", "number", "held")}
        age, noise = state["age"], None
        if "number" in state:
            noise = noise_of(state["number"] + age - first, noise_size(self._hybrid))[:, None]
        wav, _, after = step_decoder(lambda: self._codec.session(DECODER), known, past, first, noise)
        wav = np.where((age < first)[:, None, None], np.float32(0), wav)
        wav[age == first, :, : self._config.hop_length // 2] = 0  # comes before the signal
        self._keep(state, after, age < first)
        state["held"] = known[:, 1:]
        return wav
