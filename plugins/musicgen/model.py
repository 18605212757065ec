"""A complete MusicGen model: prompts and melodies in, codes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ...codec.checkpoints import BUNDLED, CONFIG, read_json
from ...codec.config import CodecConfig
from ...codec.errors import CheckpointError
from ...codec.model import Codec
from ...format.errors import ArgumentError
from .config import MusicGenConfig
from .generate import Options, Request, stream_codes
from .linear import to_int8
from .lm import MusicGenLM
from .text_encoder import TextEncoder

Melody = Tensor | None


class MusicGen:
    """Generates codes [B, K, T] from texts and melodies. Each item of a batch is the same as if generated alone."""

    def __init__(
        self,
        lm: MusicGenLM,
        text_encoder: Callable[[], TextEncoder] | None = None,
        codec: Codec | None = None,
        make_codec: Callable[[], Codec] | None = None,
    ) -> None:
        """`text_encoder` is called at the first prompt to make the encoder; `codec` decodes the codes.

        If there is no `codec`, `make_codec` is called when it is needed.
        """
        self.lm, self.codec = lm.eval().requires_grad_(False), codec
        self._make_encoder, self._make_codec = text_encoder, make_codec
        self._encoder: TextEncoder | None = None

    @property
    def config(self) -> MusicGenConfig:
        """Configuration of the language model."""
        return self.lm.config

    def to_int8(self) -> MusicGen:
        """Convert the layers' weights to eight bits, but not embeddings and heads. Returns itself."""
        to_int8(self.lm.layers)
        return self

    def stream(
        self,
        prompts: Sequence[str | None] = (None,),
        options: Options = Options(),  # noqa: B008 - frozen
        melodies: Sequence[Melody] | None = None,
        seeds: Sequence[int] | None = None,
        prompt_codes: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Generate codes, yielding them as they are finished: blocks [B, K, t] that follow `prompt_codes`.

        `prompts` are texts or None. `melodies` are mono audio [N] at the model's sample rate, or None.
        `seeds` default to 0, 1, 2 ... `prompt_codes` [B, K, T] is the music to continue. Raises
        ValueError for arguments that contradict each other or that the model does not support.
        """
        n = len(prompts)
        request = Request(prompts, melodies or [None] * n, range(n) if seeds is None else seeds)
        yield from stream_codes(self.lm, self._text_encoder(any(prompts)), request, options, prompt_codes)

    def generate(
        self,
        prompts: Sequence[str | None] = (None,),
        options: Options = Options(),  # noqa: B008 - frozen
        melodies: Sequence[Melody] | None = None,
        seeds: Sequence[int] | None = None,
        prompt_codes: Tensor | None = None,
    ) -> Tensor:
        """Generate all codes at once, [B, K, T], starting with `prompt_codes`. Arguments as for `stream`."""
        blocks = [] if prompt_codes is None else [prompt_codes.long()]
        blocks += self.stream(prompts, options, melodies, seeds, prompt_codes)
        return torch.cat(blocks, dim=-1)

    def _text_encoder(self, needed: bool) -> TextEncoder | None:
        if needed and self._encoder is None and self._make_encoder is not None:
            self._encoder = self._make_encoder()
        return self._encoder

    def encode_prompt(self, wav: Tensor, channels: int | None = None) -> Tensor:
        """Encode audio to continue: [B, C, N] at the codec's rate -> codes [B, K, T].

        Two `channels` are encoded separately, and mono input is used for both. `channels` defaults to the model's, or to the
        audio's if the model makes both mono and stereo. Raises ValueError for other channels, RuntimeError without a codec.
        """
        codec, config = self.require_codec(), self.config
        if channels is None:
            channels = wav.shape[1] if config.mono and wav.dim() == 3 and wav.shape[1] == 1 else config.channels
        n_rows = config.rows(channels)
        if wav.dim() != 3 or wav.shape[1] not in (1, channels):
            raise ArgumentError(f"wav must be [B, {channels}, N], got {tuple(wav.shape)}")
        wav = wav.expand(-1, channels, -1)
        streams = [codec.encode(wav[:, i : i + 1], n_codebooks=n_rows // channels) for i in range(channels)]
        return torch.stack(streams, dim=2).flatten(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [B, K, T] to audio [B, C, N]; raises RuntimeError if there is no codec."""
        codec = self.require_codec()
        return torch.cat([codec.decode(rows) for rows in self.streams(codes)], dim=1)

    def streams(self, codes: Tensor) -> list[Tensor]:
        """Return the codes of each channel: [..., K, T] -> C times [..., K / C, T]. Channels alternate in K."""
        channels = codes.shape[-2] * self.config.channels // self.config.n_codebooks
        return [codes[..., i::channels, :] for i in range(channels)]

    def require_codec(self) -> Codec:
        """Return the codec. Raises RuntimeError if there is none, CheckpointError if it has another token space."""
        if self.codec is None and self._make_codec is not None:
            self.codec = self._make_codec()
        codec, config = self.codec, self.config
        if codec is None:
            raise RuntimeError(f"{config.name} has no codec: set .codec, for instance to ecdc.load('encodec_32khz')")
        if config.token_space and codec.token_space.hex() != config.token_space:
            raise CheckpointError(
                f"{config.name} writes tokens of {config.codec} ({config.token_space}), "
                f"not of {codec.config.name} ({codec.token_space.hex()})"
            )
        return codec

    def token_space(self) -> tuple[CodecConfig, bytes]:
        """Return the codec's configuration and token space; a bundled codec is not loaded for this.

        Raises CheckpointError if the codec is not bundled, or has other rates or codebooks than the model.
        """
        config = self.config
        if self.codec is None and self._make_codec is not None and config.token_space:
            if not re.fullmatch(r"[\w-]+", config.codec) or not (BUNDLED / config.codec / CONFIG).is_file():
                raise CheckpointError(f"{config.name}: its codec {config.codec[:80]!r} is not bundled")
            found = CodecConfig.from_dict(read_json(BUNDLED / config.codec / CONFIG))
            for key in ("sample_rate", "frame_rate", "codebook_size"):
                if getattr(found, key) != getattr(config, key):
                    text = f"{key} must be {getattr(found, key)}, as of its codec {found.name}, got {getattr(config, key)}"
                    raise CheckpointError(f"{config.name}: {text}")
            return found, bytes.fromhex(config.token_space)
        codec = self.require_codec()
        return codec.config, codec.token_space
