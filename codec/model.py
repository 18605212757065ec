"""A codec: encoder, residual vector quantizer and decoder over one configuration."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from .arguments import Audio, Codes, checked_codes, checked_wav
from .config import CodecConfig, HybridConfig, SplitConfig
from .modules.conv import Layer
from .modules.levels import LevelVQ
from .quantize.residual import ResidualVQ
from .quantize.split import SplitVQ
from .segments import Segment, cut, loudness, overlap_add


class Codec(nn.Module):
    """Audio [B, C, N] <-> codes [B, K, T]; the same codes whatever the batch or block size."""

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
        """Where codes are decoded."""
        return next(self.quantizer.buffers()).device

    @property
    def token_space(self) -> bytes:
        """SHA-256 (32 bytes) of the quantizer: what a code means. See `token_space_hash`."""
        return token_space_hash(self.quantizer)

    @property
    def reach(self) -> tuple[int, int]:
        """How many frames before and after its own a decoded sample depends on."""
        own: tuple[int, int] | None = getattr(self.decoder, "reach", None)
        return own or (self.config.architecture.decoder_context, self.config.architecture.decoder_lookahead)

    def with_decoder(self, decoder: nn.Module) -> Codec:
        """The same codec with another decoder of its latents (protocols.Decoder); encoder and codebooks are shared."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.decoder = decoder
        return other

    def ready(self, reference: bool = False) -> Codec:
        """For inference: evaluation mode, no gradients, the encoder in the dtype that fixes tokens.

        With `reference`, an EnCodec model computes in the original's order of operations: the
        same codes bit for bit, but more slowly. Without, about one code in a million differs:
        a frame close to the border of two entries.
        """
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Layer):
                module.reference = reference
        self.quantizer.reference = reference
        self.encoder.to(getattr(torch, self.config.exact_dtype))
        return self

    def _resolve(self, kbps: float | None, n_codebooks: int | None) -> int:
        """Codebooks for a bitrate or a count; all of them where neither is given."""
        if kbps is not None and n_codebooks is not None:
            raise ValueError("give kbps or n_codebooks, not both")
        if kbps is not None:
            if not math.isfinite(kbps):
                raise ValueError(f"kbps must be a finite number, got {kbps}")
            return self.config.codebooks_for(kbps)
        n_codebooks = self.config.n_codebooks if n_codebooks is None else operator.index(n_codebooks)
        if not 1 <= n_codebooks <= self.config.n_codebooks:
            raise ValueError(f"n_codebooks must be 1..{self.config.n_codebooks}, got {n_codebooks}")
        return n_codebooks

    def _checked_wav(self, wav: Audio) -> Tensor:
        """Audio as the encoder takes it; raises ValueError with what came and what was wanted."""
        return checked_wav(wav, self.config.channels, next(self.encoder.parameters()))

    def _checked_codes(self, codes: Codes) -> Tensor:
        """Codes as int64; raises ValueError with what came and what was wanted."""
        return checked_codes(codes, self.config.n_codebooks, self.config.codebook_size, self.device)

    @torch.no_grad()
    def encode(self, wav: Audio, kbps: float | None = None, n_codebooks: int | None = None) -> Tensor:
        """Audio to codes, as one stretch.

        Shapes: wav [B, C, N], floats of a tensor or numpy array -> codes [B, K, T], int64 in
        [0, V), T = ceil(N / hop). The first k codebooks of an encoding are the encoding at k.
        Raises ValueError for a wrong shape or type, for NaN and infinities, a bitrate below the
        lowest, or a codec that works in scaled segments (use `encode_segments`).
        """
        if self.config.segment_length or self.config.normalize:
            raise ValueError(f"{self.config.name} codes scaled segments: use encode_segments and decode_segments")
        return self._encode(wav, self._resolve(kbps, n_codebooks))

    def decode(self, codes: Codes, n_samples: int | None = None) -> Tensor:
        """Codes to audio: [B, k, T], integers of any type -> [B, C, T * hop], cut to `n_samples` where given.

        Gradients flow to parameters that want them (`ready` asks for none). May be compiled and
        exported by torch. Raises ValueError for a wrong shape or type, and for codes that are none.
        """
        if n_samples is not None and n_samples < 0:
            raise ValueError(f"n_samples must be 0 or more, got {n_samples}")
        codes = self._checked_codes(codes)
        wanted = torch.is_grad_enabled() and any(p.requires_grad for p in self.decoder.parameters())
        with torch.set_grad_enabled(wanted):
            wav: Tensor = self.decoder(self.quantizer.decode(codes))
        return wav[..., :n_samples]

    def encode_segments(self, wav: Audio, kbps: float | None = None, n_codebooks: int | None = None) -> list[Segment]:
        """Audio [B, C, N] to segments; a codec that does not cut its signal gives one.

        Raises ValueError as `encode` does.
        """
        return list(self.encode_segment_blocks([wav], kbps, n_codebooks))

    def decode_segments(self, segments: Iterable[Segment], n_samples: int | None = None) -> Tensor:
        """Segments to audio [B, C, N], cut to `n_samples` where given. Raises ValueError where there are none."""
        segments = list(segments)
        if not segments:
            raise ValueError("segments must be one or more, got none")
        return torch.cat(list(self.decode_segment_blocks(segments)), dim=-1)[..., :n_samples]

    @torch.no_grad()
    def encode_segment_blocks(
        self, blocks: Iterable[Audio], kbps: float | None = None, n_codebooks: int | None = None
    ) -> Iterator[Segment]:
        """`encode_segments` over blocks [B, C, n] of any length, holding one segment at a time."""
        k, config = self._resolve(kbps, n_codebooks), self.config
        checked = (self._checked_wav(block) for block in blocks)
        if config.segment_length and config.segment_stride:
            wavs = cut(checked, config.segment_length, config.segment_stride)
        else:
            wavs = iter([torch.cat(list(checked), dim=-1)])
        for wav in wavs:
            scale = loudness(wav) if config.normalize else None
            yield Segment(self._encode(wav if scale is None else wav / scale[..., None], k), scale)

    def decode_segment_blocks(self, segments: Iterable[Segment]) -> Iterator[Tensor]:
        """`decode_segments` in blocks [B, C, n], holding one segment at a time; the last may be too long."""
        wavs = (self._decode_segment(s) for s in segments)
        return overlap_add(wavs, self.config.segment_stride) if self.config.segment_stride else wavs

    def _decode_segment(self, segment: Segment) -> Tensor:
        wav = self.decode(segment.codes)
        if segment.codes.shape[1] == 0:
            return torch.zeros_like(wav)  # no codes at all: it was lost
        return wav if segment.scale is None else wav * segment.scale[..., None]

    def _encode(self, wav: Audio, n_codebooks: int) -> Tensor:
        return self.quantizer.encode(self.encoder(self._checked_wav(wav)), n_codebooks)

    @contextlib.contextmanager
    def streaming(self, batch_size: int = 1, first_frame: int = 0) -> Iterator[Stream]:
        """A stream that carries the context from block to block, closed on leaving.

        Decoding may begin at any frame of a signal: `first_frame` tells decoders that sample which noise is whose.

        >>> with codec.streaming() as stream:                            # doctest: +SKIP
        ...     parts = [stream.encode(x, kbps=6) for x in blocks[:-1]]
        ...     parts.append(stream.encode(blocks[-1], kbps=6, last=True))

        The joined codes equal `encode` of the joined blocks, for blocks of any length. A
        model may serve any number of streams at a time. Raises ValueError for codecs that
        work in scaled segments: their segments are independent already.
        """
        if self.config.segment_length or self.config.normalize:
            raise ValueError(f"{self.config.name} codes scaled segments, which are independent: encode them one by one")
        stream = Stream(self, batch_size, first_frame)
        try:
            yield stream
        finally:
            stream.close()


class Stream:
    """One stream through a codec: blocks in, what they complete out."""

    def __init__(self, codec: Codec, batch_size: int, first_frame: int = 0) -> None:
        self.codec = codec
        encoder: Any = codec.encoder
        decoder: Any = codec.decoder
        self._encoder = encoder.initial_state(batch_size)
        self._decoder = decoder.initial_state(batch_size, first_frame)

    def close(self) -> None:
        """End both directions; later calls raise RuntimeError."""
        self._encoder = self._decoder = None

    @torch.no_grad()
    def encode(self, wav: Audio, kbps: float | None = None, n_codebooks: int | None = None, last: bool = False) -> Tensor:
        """The next block [B, C, n] -> the codes [B, K, t] that it completes; t may be 0.

        With `last` the rest is filled up with silence and coded, and the encoder is closed.
        """
        if self._encoder is None:
            raise RuntimeError("this stream's encoder is closed")
        codec = self.codec
        k = codec._resolve(kbps, n_codebooks)
        latents = codec.encoder(codec._checked_wav(wav), self._encoder, last)
        if last:
            self._encoder = None
        return codec.quantizer.encode(latents, k)

    @torch.no_grad()
    def decode(self, codes: Codes, last: bool = False) -> Tensor:
        """The next codes [B, k, t] -> the samples [B, C, n] that they complete.

        k may change from call to call. With `last` the rest of the signal is returned too,
        and the decoder is closed.
        """
        if self._decoder is None:
            raise RuntimeError("this stream's decoder is closed")
        codes = self.codec._checked_codes(codes)
        wav = self.codec.decoder(self.codec.quantizer.decode(codes), self._decoder, last)
        if last:
            self._decoder = None
        return wav


def token_space_hash(quantizer: ResidualVQ | SplitVQ) -> bytes:
    """SHA-256 (32 bytes) over the tensors that give codes their meaning (`token_tensors`).

    Each tensor is hashed as its shape in decimals joined by 'x', a newline, and its values
    as little-endian float32.
    """
    digest = hashlib.sha256()
    for tensor in quantizer.token_tensors():
        values = tensor.detach().cpu().float().contiguous().numpy().astype("<f4")
        digest.update("x".join(map(str, tensor.shape)).encode() + b"\n" + values.tobytes())
    return digest.digest()


def build_quantizer(config: CodecConfig) -> ResidualVQ | SplitVQ:
    """The untrained quantizer that a configuration describes."""
    split = config.architecture
    if not isinstance(split, SplitConfig):
        return ResidualVQ(config.n_codebooks, config.codebook_size, config.dimension, config.scaled_residuals)
    levels = LevelVQ(len(split.level_places), config.codebook_size, split.n_levels, split.level_taps)
    return SplitVQ(levels, split.level_places, config.n_codebooks, config.codebook_size, config.dimension)


def build_networks(config: CodecConfig, quantizer: ResidualVQ | SplitVQ) -> tuple[nn.Module, nn.Module]:
    """The untrained encoder and decoder that a configuration describes."""
    if isinstance(config.architecture, SplitConfig):
        from .modules.split import SplitEncoder
        from .modules.split_decoder import SplitDecoder

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
