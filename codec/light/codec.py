"""A codec that runs on onnxruntime and numpy: the same tokens as the torch codec, and the same audio except for rounding."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ...format.arguments import MOST_ITEMS, enough_memory, whole_number
from ...format.errors import ArgumentError, ClosedError
from ..bundled import CONFIG, WEIGHTS, first_line
from ..codebook_count import codebook_count
from ..config import CodecConfig, HybridConfig
from ..effort import paths_of
from ..errors import CheckpointError
from .arguments import checked_codes, checked_wav, item_count
from .names import DECODER, ENCODER, FLOW
from .numpy_encoder import NumpyEncoder
from .session import open_session, properties
from .states import DecoderState, EncoderState, run_decoder, run_encoder

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .batch import StreamBatch
    from .flow import LightFlow

QUANTIZED_FRAMES = 400  # per call of the quantizer


class LightCodec:
    """Audio [B, C, N] <-> codes [B, K, T], in numpy arrays. The codes do not depend on the batch or on the block size."""

    decoding_graphs: tuple[str, ...] = (DECODER,)

    def __init__(self, config: CodecConfig, folder: Path, quantizer: Any) -> None:
        self.config, self.folder, self.quantizer = config, folder, quantizer
        self.token_space = quantizer.token_space
        self.flow: LightFlow | None = None  # instead of the decoder alone
        self._sessions: dict[str, Any] = {}
        self._early: dict[str, Future[Any]] = {}  # sessions that a thread opens
        self.prefers_graph = False  # encode with the graph even if the weights are here

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames before and after its own frame a decoded sample depends on."""
        own = self.config.architecture.decoder_context, self.config.architecture.decoder_lookahead
        return self.flow.reach(own) if self.flow else own

    def with_flow(self, steps: int | None = None, seed: int = 0) -> LightCodec:
        """Return this codec with its diffusion decoder; `steps` of its sampler (None: the default), `seed` decides the noise.

        Raises CheckpointError if none is beside its graphs, and ValueError for a bad number.
        """
        from ..diffusion.flow_config import FlowConfig
        from .flow import LightFlow

        if seed < 0 or (steps is not None and steps < 0):
            raise ArgumentError(f"seeds and steps must not be negative, got {seed} and {steps}")
        session = self.session(FLOW)
        try:
            config = FlowConfig.from_dict(json.loads(properties(session)["flow"]))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self.folder / FLOW}: does not describe its decoder: {first_line(error)}") from error
        other = copy.copy(self)
        other.flow = LightFlow(config, steps, seed, lambda: self.session(DECODER), lambda: session)
        return other

    def session(self, name: str) -> Any:
        """Return the session of a graph, opened at the first call. Raises CheckpointError, with one line."""
        if name not in self._sessions:
            early = self._early.pop(name, None)
            self._sessions[name] = early.result() if early else self._opened(name)
        return self._sessions[name]

    def prepare_decoding(self) -> None:
        """Open the decoder's graphs in a thread, so that codes can be read meanwhile; faults appear where one is used."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(1)
        for name in self.decoding_graphs:
            if name not in self._sessions and name not in self._early:
                self._early[name] = pool.submit(self._opened, name)
        pool.shutdown(wait=False)

    def _opened(self, name: str) -> Any:
        session = open_session(self.folder / name)
        found = properties(session).get("token_space", "")
        if found != self.token_space.hex():
            wanted = self.token_space.hex()
            raise CheckpointError(f"{self.folder / name}: is for the token space {found or 'of no model'}, not for {wanted}")
        return session

    @functools.cached_property
    def numpy_encoder(self) -> Any:
        """The encoder in numpy; None if the model's weights are only in its graph, or the graph is preferred."""
        if self.prefers_graph or not (self.folder / WEIGHTS).is_file():
            return None
        path = self.folder / WEIGHTS
        try:
            with safe_open(path, "np") as file:
                names = [name for name in file.keys() if name.startswith("encoder.")]  # noqa: SIM118
                tensors = {name: file.get_tensor(name) for name in names}
            return self._build_encoder(tensors)
        except KeyError as error:
            raise CheckpointError(f"{path}: lacks encoder.{error.args[0]}") from error
        except (OSError, SafetensorError, ValueError, IndexError) as error:
            raise CheckpointError(f"{path}: its encoder does not fit {CONFIG}: {first_line(error)}") from error

    def _build_encoder(self, tensors: dict[str, NDArray[Any]]) -> Any:
        """Build the encoder of this kind of codec from its weights."""
        assert isinstance(self.config.architecture, HybridConfig)
        return NumpyEncoder(self.config.architecture, self.config.dimension, tensors)

    def encode(self, wav: Any, kbps: float | None = None, n_codebooks: int | None = None, effort: int = 0) -> NDArray[np.int64]:
        """Encode audio [B, C, N] as one piece -> codes [B, K, T] in [0, V), T = ceil(N / hop).

        Audio is rounded to float32. With effort 0, the first k codebooks of an encoding equal the encoding at k. `effort`,
        0 to 10: a higher one searches longer, for codes closer to the audio at this number of codebooks. Raises
        ValueError for a wrong shape or type, NaN or infinity, a bitrate below the lowest, or an effort that the codec does
        not have.
        """
        with self.streaming(batch_size=item_count(wav)) as stream:
            return stream.encode(wav, kbps, n_codebooks, last=True, effort=effort)

    def decode(self, codes: Any, n_samples: int | None = None) -> NDArray[np.float32]:
        """Decode codes [B, k, T], integers of any type, to audio [B, C, T * hop], cut to `n_samples` if given.

        Raises ValueError for a wrong shape or type, and for values out of range.
        """
        n_samples = None if n_samples is None else whole_number("n_samples", n_samples, 0)
        with self.streaming(batch_size=item_count(codes)) as stream:
            return stream.decode(codes, last=True)[..., :n_samples]

    def batch(self, n_streams: int = 0) -> StreamBatch:
        """Open many live streams that step together, one frame at a time, and join, leave and start anew by themselves.

        Raises ValueError for EnCodec models that are not causal or work in segments, and with a diffusion decoder.
        """
        if self.flow:
            raise ArgumentError(f"{self.config.name} has no batches of streams with its diffusion decoder")
        return self._open_batch(n_streams)

    def _open_batch(self, n_streams: int) -> StreamBatch:
        from .hybrid_batch import HybridBatch

        return HybridBatch(self, n_streams)

    @contextlib.contextmanager
    def streaming(self, batch_size: int = 1, first_frame: int = 0) -> Iterator[LightStream]:
        """Open a stream that carries the context from block to block; it is closed at the end of the `with` block.

        The concatenated codes equal `encode` of the concatenated blocks, for blocks of any length. A codec can serve any
        number of streams at a time. `first_frame` is the number of the first frame to decode: a diffusion decoder picks its
        noise by it.
        """
        batch_size = whole_number("batch_size", batch_size, 1, MOST_ITEMS)
        first_frame = whole_number("first_frame", first_frame)
        with enough_memory("batch_size", batch_size):
            stream = self.open_stream(batch_size, first_frame)
        stream.batch_size = batch_size
        try:
            yield stream
        finally:
            stream.close()

    def open_stream(self, batch_size: int, first_frame: int) -> LightStream:
        """Return a stream before its first block."""
        config, hybrid = self.config, self.config.architecture
        assert isinstance(hybrid, HybridConfig)
        encoder = EncoderState.first(hybrid, batch_size)
        if self.flow:
            return LightStream(self, encoder, self.flow.initial_state(hybrid, batch_size, first_frame))
        return LightStream(self, encoder, DecoderState.first(hybrid, config.dimension, batch_size, first_frame))


class LightStream:
    """One stream through a codec: takes blocks, returns what they complete."""

    def __init__(self, codec: LightCodec, encoder: Any, decoder: Any) -> None:
        self.codec = codec
        self.batch_size: int | None = None  # B of every block; None: not checked
        self._encoder, self._decoder = encoder, decoder

    def close(self) -> None:
        """Close encoder and decoder; later calls raise ClosedError."""
        self._encoder = self._decoder = None

    def encode(
        self, wav: Any, kbps: float | None = None, n_codebooks: int | None = None, last: bool = False, effort: int = 0
    ) -> NDArray[np.int64]:
        """Encode the next block [B, C, n]; returns the codes [B, K, t] that it completes, t may be 0.

        With `last`, the rest is padded with silence and coded, and the encoder is closed. `effort`: see LightCodec.encode.
        """
        if self._encoder is None:
            raise ClosedError("this stream's encoder is closed")
        codec = self.codec
        k, n_paths = codebook_count(codec.config, kbps, n_codebooks), paths_of(codec.config, effort)
        checked = checked_wav(wav, codec.config.channels, self.batch_size)
        parts = list(self._latents(checked, last))
        if last:
            self._encoder = None
        if not parts:
            return np.zeros((len(checked), k, 0), np.int64)
        latents = np.concatenate(parts, axis=1)
        blocks = (latents[:, first : first + QUANTIZED_FRAMES] for first in range(0, latents.shape[1], QUANTIZED_FRAMES))
        return np.concatenate([codec.quantizer.encode(block, k, n_paths) for block in blocks], axis=2)

    def _latents(self, wav: NDArray[np.float32], last: bool) -> Iterator[NDArray[np.float64]]:
        """Run the encoder: audio [B, C, n] -> the quantizer's inputs [B, T, D]."""
        return run_encoder(lambda: self.codec.session(ENCODER), wav, self._encoder, last, self.codec.numpy_encoder)

    def decode(self, codes: Any, last: bool = False) -> NDArray[np.float32]:
        """Decode the next codes [B, k, t]; returns the samples [B, C, n] that they complete.

        k may change from call to call. With `last`, the rest of the signal is returned too, and the decoder is closed.
        """
        if self._decoder is None:
            raise ClosedError("this stream's decoder is closed")
        codec = self.codec
        checked = checked_codes(codes, codec.config.n_codebooks, codec.config.codebook_size, self.batch_size)
        latents = codec.quantizer.decode(checked)
        parts = list(self._audio(latents, last))
        if last:
            self._decoder = None
        return np.concatenate([np.zeros((len(checked), codec.config.channels, 0), np.float32), *parts], axis=2)

    def _audio(self, latents: NDArray[np.float32], last: bool) -> Iterator[NDArray[np.float32]]:
        """Run the decoder: the quantizer's outputs [B, T, D] -> audio [B, C, n]."""
        if self.codec.flow:
            return self.codec.flow.run(latents, self._decoder, last)
        return run_decoder(lambda: self.codec.session(DECODER), latents, self._decoder, last)


def read_tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> list[NDArray[np.float32]]:
    """Return the named tensors of a safetensors file in float32. Raises CheckpointError unless they have these shapes."""
    try:
        with safe_open(path, "np") as file:
            arrays = [file.get_tensor(name).astype(np.float32) for name in shapes]
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error
    for (name, shape), array in zip(shapes.items(), arrays, strict=True):
        if array.shape != shape:
            raise CheckpointError(f"{path}: {name} must be {list(shape)}, got {list(array.shape)}")
    return arrays
