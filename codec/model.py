"""A codec: encoder, residual vector quantizer and decoder over one configuration."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ..format.arguments import MOST_ITEMS, enough_memory, whole_number
from ..format.errors import ArgumentError, ClosedError
from .arguments import Audio, Codes, checked_codes, checked_wav
from .codebook_count import codebook_count
from .config import CodecConfig, HybridConfig, SplitConfig
from .effort import paths_of
from .modules.conv import Layer
from .modules.levels import LevelVQ
from .quantize.common import hash_of
from .quantize.residual import ResidualVQ
from .quantize.split import SplitVQ
from .segments import Segment, cut, loudness, overlap_add


class Codec(nn.Module):
    """Audio [B, C, N] <-> codes [B, K, T]. The codes do not depend on the batch or on the block size."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = build_quantizer(config)
        self.encoder, self.decoder = build_networks(config, self.quantizer)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def device(self) -> torch.device:
        """Device on which codes are decoded."""
        return next(self.quantizer.buffers()).device

    @property
    def token_space(self) -> bytes:
        """SHA-256 (32 bytes) of the quantizer, which gives the codes their meaning. See `token_space_hash`."""
        return token_space_hash(self.quantizer)

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames before and after its own frame a decoded sample depends on."""
        decoder: Any = self.decoder  # a protocols.Decoder
        reach: tuple[int, int] = decoder.reach
        return reach

    def with_decoder(self, decoder: nn.Module) -> Codec:
        """Return this codec with another decoder (protocols.Decoder). Encoder and codebooks are shared."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.decoder = decoder
        return other

    def ready(self, reference: bool = False) -> Codec:
        """Prepare for inference: evaluation mode, no gradients, the encoder in the dtype that fixes its tokens.

        With `reference`, an EnCodec model computes in the original's order of operations: slower, but
        the codes are the same bit for bit. Without it, about one code in a million differs, namely in
        frames that are almost equally close to two codebook entries.
        """
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Layer):
                module.reference = reference
        self.quantizer.reference = reference
        self.encoder.to(getattr(torch, self.config.exact_dtype))
        return self

    def _checked_wav(self, wav: Audio, n_items: int | None = None) -> Tensor:
        """Convert audio to the encoder's tensor; raises ValueError with what was expected and what came."""
        return checked_wav(wav, self.config.channels, next(self.encoder.parameters()), n_items)

    def _checked_codes(self, codes: Codes, n_items: int | None = None) -> Tensor:
        """Convert codes to int64; raises ValueError with what was expected and what came."""
        return checked_codes(codes, self.config.n_codebooks, self.config.codebook_size, self.device, n_items)

    @torch.no_grad()
    def encode(self, wav: Audio, kbps: float | None = None, n_codebooks: int | None = None, effort: int = 0) -> Tensor:
        """Encode audio as one piece.

        Shapes: wav [B, C, N], floats in a tensor or numpy array -> codes [B, K, T], int64 in
        [0, V), T = ceil(N / hop). With effort 0, the first k codebooks of an encoding equal the encoding at k.
        `effort`, 0 to 10: a higher one searches longer, for codes closer to the audio at this number of codebooks.
        Raises ValueError for a wrong shape or type, NaN or infinity, a bitrate below the lowest, a codec
        that works in scaled segments (use `encode_segments`), or an effort that the codec does not have.
        """
        if self.config.segment_length or self.config.normalize:
            raise ArgumentError(f"{self.config.name} codes scaled segments: use encode_segments and decode_segments")
        n_codebooks, n_paths = codebook_count(self.config, kbps, n_codebooks), paths_of(self.config, effort)
        return self.quantizer.encode(self.encoder(self._checked_wav(wav)), n_codebooks, n_paths)

    def decode(self, codes: Codes, n_samples: int | None = None) -> Tensor:
        """Decode codes [B, k, T], integers of any type, to audio [B, C, T * hop], cut to `n_samples` if given.

        Gradients flow to parameters that require them (after `ready`, none do). Works with torch.compile
        and torch.export. Raises ValueError for a wrong shape or type, and for values out of range.
        """
        n_samples = None if n_samples is None else whole_number("n_samples", n_samples, 0)
        codes = self._checked_codes(codes)
        wanted = torch.is_grad_enabled() and any(p.requires_grad for p in self.decoder.parameters())
        with torch.set_grad_enabled(wanted):
            wav: Tensor = self.decoder(self.quantizer.decode(codes))
        return wav[..., :n_samples]

    def encode_segments(self, wav: Audio, kbps: float | None = None, n_codebooks: int | None = None) -> list[Segment]:
        """Encode audio [B, C, N] to segments; a codec without segments gives one.

        Raises ValueError as `encode` does.
        """
        return list(self.encode_segment_blocks([wav], kbps, n_codebooks))

    def decode_segments(self, segments: Iterable[Segment], n_samples: int | None = None) -> Tensor:
        """Decode segments, of tensors or arrays, to audio [B, C, N], cut to `n_samples` if given.

        Raises ValueError if there are no segments.
        """
        segments = list(segments)
        if not segments:
            raise ArgumentError("segments must be one or more, got none")
        return torch.cat(list(self.decode_segment_blocks(segments)), dim=-1)[..., :n_samples]

    @torch.no_grad()
    def encode_segment_blocks(
        self, blocks: Iterable[Audio], kbps: float | None = None, n_codebooks: int | None = None
    ) -> Iterator[Segment]:
        """Like `encode_segments`, for blocks [B, C, n] of any length. Holds one segment at a time."""
        k, config = codebook_count(self.config, kbps, n_codebooks), self.config
        checked = (self._checked_wav(block) for block in blocks)
        if config.segment_length and config.segment_stride:
            wavs = cut(checked, config.segment_length, config.segment_stride)
        else:
            wavs = iter([torch.cat(list(checked), dim=-1)])
        for wav in wavs:
            scale = loudness(wav) if config.normalize else None
            yield Segment(self._encode(wav if scale is None else wav / scale[..., None], k), scale)

    def decode_segment_blocks(self, segments: Iterable[Segment]) -> Iterator[Tensor]:
        """Like `decode_segments`, in blocks [B, C, n]. Holds one segment at a time; the last block may be too long."""
        wavs = (self._decode_segment(s) for s in segments)
        return overlap_add(wavs, self.config.segment_stride) if self.config.segment_stride else wavs

    def _decode_segment(self, segment: Segment) -> Tensor:
        wav = self.decode(segment.codes)
        if segment.codes.shape[1] == 0:
            return torch.zeros_like(wav)  # a lost segment has no codes
        return wav if segment.scale is None else wav * torch.as_tensor(segment.scale, device=wav.device)[..., None]

    def _encode(self, wav: Audio, n_codebooks: int) -> Tensor:
        return self.quantizer.encode(self.encoder(self._checked_wav(wav)), n_codebooks)

    @contextlib.contextmanager
    def streaming(self, batch_size: int = 1, first_frame: int = 0) -> Iterator[Stream]:
        """Open a stream that carries the context from block to block; it is closed at the end of the `with` block.

        `first_frame`: number of the first frame to decode, which may be any frame. Sampling decoders pick their noise by it.

        >>> with codec.streaming() as stream:                            # doctest: +SKIP
        ...     parts = [stream.encode(x, kbps=6) for x in blocks[:-1]]
        ...     parts.append(stream.encode(blocks[-1], kbps=6, last=True))

        The concatenated codes equal `encode` of the concatenated blocks, for blocks of any length. A
        model can serve any number of streams at a time. Raises ValueError for codecs that work in
        scaled segments, because their segments are independent already.
        """
        if self.config.segment_length or self.config.normalize:
            raise ArgumentError(f"{self.config.name} codes scaled segments, which are independent: encode them one by one")
        stream = Stream(self, batch_size, first_frame)
        try:
            yield stream
        finally:
            stream.close()


class Stream:
    """One stream through a codec: takes blocks, returns what they complete."""

    def __init__(self, codec: Codec, batch_size: int, first_frame: int = 0) -> None:
        self.codec = codec
        self.batch_size = batch_size = whole_number("batch_size", batch_size, 1, MOST_ITEMS)
        first_frame = whole_number("first_frame", first_frame)
        encoder: Any = codec.encoder
        decoder: Any = codec.decoder
        with enough_memory("batch_size", batch_size):
            self._encoder = encoder.initial_state(batch_size)
            self._decoder = decoder.initial_state(batch_size, first_frame)

    def close(self) -> None:
        """Close encoder and decoder; later calls raise ClosedError."""
        self._encoder = self._decoder = None

    @torch.no_grad()
    def encode(
        self, wav: Audio, kbps: float | None = None, n_codebooks: int | None = None, last: bool = False, effort: int = 0
    ) -> Tensor:
        """Encode the next block [B, C, n]; returns the codes [B, K, t] that it completes, t may be 0.

        With `last`, the rest is padded with silence and coded, and the encoder is closed. `effort`: see Codec.encode.
        """
        if self._encoder is None:
            raise ClosedError("this stream's encoder is closed")
        codec = self.codec
        k, n_paths = codebook_count(codec.config, kbps, n_codebooks), paths_of(codec.config, effort)
        latents = codec.encoder(codec._checked_wav(wav, self.batch_size), self._encoder, last)
        if last:
            self._encoder = None
        return codec.quantizer.encode(latents, k, n_paths)

    @torch.no_grad()
    def decode(self, codes: Codes, last: bool = False) -> Tensor:
        """Decode the next codes [B, k, t]; returns the samples [B, C, n] that they complete.

        k may change from call to call. With `last`, the rest of the signal is returned too, and the
        decoder is closed.
        """
        if self._decoder is None:
            raise ClosedError("this stream's decoder is closed")
        codes = self.codec._checked_codes(codes, self.batch_size)
        wav = self.codec.decoder(self.codec.quantizer.decode(codes), self._decoder, last)
        if last:
            self._decoder = None
        return wav


def token_space_hash(quantizer: ResidualVQ | SplitVQ) -> bytes:
    """Return the SHA-256 (32 bytes) of the tensors that give codes their meaning (`hash_of`)."""
    return hash_of(tensor.detach().cpu().float().numpy() for tensor in quantizer.token_tensors())


def build_quantizer(config: CodecConfig) -> ResidualVQ | SplitVQ:
    """Build the untrained quantizer of a configuration."""
    split = config.architecture
    if not isinstance(split, SplitConfig):
        return ResidualVQ(config.n_codebooks, config.codebook_size, config.dimension, config.scaled_residuals)
    weight = torch.ones(split.steps, split.n_levels // split.steps)
    weight[:, : split.slow_bands] = math.sqrt(split.slow_weight)
    levels = LevelVQ(len(split.level_places), config.codebook_size, split.n_levels, split.level_taps, weight.flatten())
    return SplitVQ(levels, split.level_places, config.n_codebooks, config.codebook_size, config.dimension)


def build_networks(config: CodecConfig, quantizer: ResidualVQ | SplitVQ) -> tuple[nn.Module, nn.Module]:
    """Build the untrained encoder and decoder of a configuration."""
    if isinstance(config.architecture, SplitConfig):
        from .modules.split_decoder import SplitDecoder
        from .modules.split_encoder import SplitEncoder

        assert isinstance(quantizer, SplitVQ)
        parts = config.architecture, config.dimension, quantizer.levels
        return SplitEncoder(*parts), SplitDecoder(*parts)
    if isinstance(config.architecture, HybridConfig):
        from .modules.hybrid import HybridDecoder, HybridEncoder

        return HybridEncoder(config.architecture, config.dimension), HybridDecoder(config.architecture, config.dimension)
    from .modules.seanet import SeanetDecoder, SeanetEncoder

    return (
        SeanetEncoder(config.architecture, config.channels, config.dimension),
        SeanetDecoder(config.architecture, config.channels, config.dimension),
    )
