"""A MusicGen with all that it needs: prompts and melodies in, codes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ...codec.checkpoints import BUNDLED, CONFIG, read_json
from ...codec.config import CodecConfig
from ...codec.errors import CheckpointError
from ...codec.model import Codec
from .config import MusicGenConfig
from .generate import Options, Request, stream_codes
from .linear import to_int8
from .lm import MusicGenLM
from .text import TextEncoder

Melody = Tensor | None


class MusicGen:
    """Text and melodies to codes [B, K, T]; each item of a batch is what it would be alone."""

    def __init__(
        self,
        lm: MusicGenLM,
        text_encoder: Callable[[], TextEncoder] | None = None,
        codec: Codec | None = None,
        make_codec: Callable[[], Codec] | None = None,
    ) -> None:
        """`text_encoder` is asked for the encoder when the first prompt comes; `codec` is the one that reads the codes.

        Where there is none, `make_codec` is asked when it is needed.
        """
        self.lm, self.codec = lm.eval().requires_grad_(False), codec
        self._make_encoder, self._make_codec = text_encoder, make_codec
        self._encoder: TextEncoder | None = None

    @property
    def config(self) -> MusicGenConfig:
        """What the language model is made of."""
        return self.lm.config

    def to_int8(self) -> MusicGen:
        """Keep the layers' weights in eight bits from now on; embeddings and heads stay. Returns itself."""
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
        """Codes as they are finished: blocks [B, K, t] that follow `prompt_codes`.

        `prompts` are texts or None; `melodies` mono audio [N] at the model's sample rate or
        None; `seeds` 0, 1, 2 ... by default; `prompt_codes` [B, K, T] is what to continue.
        Raises ValueError for what does not fit together or the model does not take.
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
        """All codes at once, [B, K, T], `prompt_codes` at their start; arguments as of `stream`."""
        blocks = [] if prompt_codes is None else [prompt_codes.long()]
        blocks += self.stream(prompts, options, melodies, seeds, prompt_codes)
        return torch.cat(blocks, dim=-1)

    def _text_encoder(self, needed: bool) -> TextEncoder | None:
        if needed and self._encoder is None and self._make_encoder is not None:
            self._encoder = self._make_encoder()
        return self._encoder

    def encode_prompt(self, wav: Tensor, channels: int | None = None) -> Tensor:
        """Audio to continue as codes: [B, C, N] at the codec's rate -> [B, K, T].

        Two `channels` are coded on their own, and mono is taken as both. By default they are the model's; of one that
        makes mono and stereo, the audio's. Raises ValueError for other channels, RuntimeError where there is no codec.
        """
        codec, config = self.require_codec(), self.config
        if channels is None:
            channels = wav.shape[1] if config.mono and wav.dim() == 3 and wav.shape[1] == 1 else config.channels
        n_rows = config.rows(channels)
        if wav.dim() != 3 or wav.shape[1] not in (1, channels):
            raise ValueError(f"wav must be [B, {channels}, N], got {tuple(wav.shape)}")
        wav = wav.expand(-1, channels, -1)
        streams = [codec.encode(wav[:, i : i + 1], n_codebooks=n_rows // channels) for i in range(channels)]
        return torch.stack(streams, dim=2).flatten(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, K, T] to audio [B, C, N]; raises RuntimeError where there is no codec."""
        codec = self.require_codec()
        return torch.cat([codec.decode(rows) for rows in self.streams(codes)], dim=1)

    def streams(self, codes: Tensor) -> list[Tensor]:
        """The codes of each channel: [..., K, T] -> C times [..., K / C, T]; channels alternate in K."""
        channels = codes.shape[-2] * self.config.channels // self.config.n_codebooks
        return [codes[..., i::channels, :] for i in range(channels)]

    def require_codec(self) -> Codec:
        """The codec; raises RuntimeError where there is none, CheckpointError for one of another token space."""
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
        """The codec's configuration and token space; one that comes along need not be loaded for it."""
        config = self.config
        if self.codec is None and self._make_codec is not None and config.token_space:
            values = read_json(BUNDLED / config.codec / CONFIG)
            return CodecConfig.from_dict(values), bytes.fromhex(config.token_space)
        codec = self.require_codec()
        return codec.config, codec.token_space
