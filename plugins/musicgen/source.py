"""MusicGen as a source of tokens for the container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from ...codec.model import Codec
from ...format import ChannelCoding, Header, Provenance
from .checkpoint import load
from .generate import Options
from .model import MusicGen

MAX_PROMPT = 4096  # characters of a prompt that go into the header, which has an end


class MusicGenSource:
    """One piece of music as blocks of codes, made while they are asked for."""

    def __init__(
        self,
        model: MusicGen,
        prompt: str | None = None,
        options: Options = Options(),  # noqa: B008 - frozen
        melody: Tensor | None = None,
        seed: int = 0,
        prompt_codes: Tensor | None = None,
    ) -> None:
        """`prompt_codes` [K, T] stand at the start of what is written; otherwise as `MusicGen.stream`."""
        self.model, self.prompt, self.options = model, prompt, options
        self.melody, self.seed, self.prompt_codes = melody, seed, prompt_codes

    def header(self) -> Header:
        """The stream's header: the codec's token space, generated, with prompt, model and seed as tags."""
        codec, config = self.model.require_codec(), self.model.config
        tags = [("generator", config.name), ("seed", str(self.seed))]
        tags += [("prompt", self.prompt[:MAX_PROMPT])] if self.prompt else []
        return Header(
            codec=codec.config.name,
            token_space=codec.token_space,
            sample_rate=codec.sample_rate,
            original_sample_rate=codec.sample_rate,
            hop_length=codec.config.hop_length,
            codebook_size=codec.config.codebook_size,
            max_codebooks=codec.config.n_codebooks,
            channels=config.channels,
            channel_coding=ChannelCoding.MONO if config.channels == 1 else ChannelCoding.LEFT_RIGHT,
            provenance=Provenance.GENERATED,
            tags=tuple(tags),
        )

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks [K, t], uint16: the rows of the left channel before those of the right."""
        prompt_codes = None if self.prompt_codes is None else self.prompt_codes[None]
        if prompt_codes is not None and prompt_codes.shape[-1]:
            yield self._rows(prompt_codes)
        melodies = None if self.melody is None else [self.melody]
        for codes in self.model.stream([self.prompt], self.options, melodies, [self.seed], prompt_codes):
            yield self._rows(codes)

    def _rows(self, codes: Tensor) -> np.ndarray:
        rows: np.ndarray = np.concatenate([stream.numpy() for stream in self.model.streams(codes[0])])
        return rows.astype(np.uint16)


def open_source(
    model: str | os.PathLike[str],
    codec: Codec | None = None,
    *,
    prompt: str | None = None,
    seconds: float = 30.0,
    seed: int = 0,
    **options: Any,
) -> MusicGenSource:
    """The entry point of the group `ecdc.generators`: a source of `seconds` of music.

    `codec` takes the place of the one beside the model. Of `options`, `int8` and
    `text_encoder` go to `load`, `melody` and `prompt_codes` to the source and the others to `Options`.
    """
    loading = {key: options.pop(key) for key in ("int8", "text_encoder") if key in options}
    about = {key: options.pop(key) for key in ("melody", "prompt_codes") if key in options}
    made = load(model, codec=codec is None, **loading)
    made.codec = codec or made.codec
    return MusicGenSource(made, prompt, Options(seconds=seconds, **options), seed=seed, **about)
