"""MusicGen as a source of tokens for the container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...codec.audio import fold_channels, resample_all
from ...codec.model import Codec
from ...format import ChannelCoding, CodeFile, Header, Provenance
from ..generators import Sound
from .checkpoint import load
from .generate import Options
from .model import MusicGen
from .sampling import Guidance, Sampling

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
    `text_encoder` go to `load`; `melody` (a Sound, or a tensor as of `MusicGen.stream`), `prompt_codes` and `start` (a
    CodeFile or a Sound, whose codes are those) to the source; numbers for `guidance`, `temperature`, `top_k` and `top_p`
    become Guidance and Sampling; the others go to `Options`. Raises ValueError, in one line, for what does not fit.
    """
    loading = {key: options.pop(key) for key in ("int8", "text_encoder") if key in options}
    about = {key: options.pop(key) for key in ("melody", "prompt_codes") if key in options}
    start = options.pop("start", None)
    made = load(model, codec=codec is None, **loading)
    made.codec = codec or made.codec
    if isinstance(about.get("melody"), Sound):
        about["melody"] = _mono(about["melody"], made.config.sample_rate)
    if start is not None:
        about["prompt_codes"] = _codes_of(start, made)
    return MusicGenSource(made, prompt, _options(seconds, options), seed=seed, **about)


def _options(seconds: float, options: dict[str, Any]) -> Options:
    """Options from plain numbers, or from their own classes."""
    drawing = {key: options.pop(key) for key in ("temperature", "top_k", "top_p") if key in options}
    if drawing:
        options["sampling"] = Sampling(**drawing)
    if isinstance(options.get("guidance"), int | float):
        options["guidance"] = Guidance(options["guidance"])
    return Options(seconds=seconds, **options)


def _mono(sound: Sound, sample_rate: int) -> Tensor:
    """A sound as mono audio [N] at a rate."""
    audio = resample_all(fold_channels(sound.audio, 1), sound.sample_rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(audio[0], np.float32))


def _codes_of(start: CodeFile | Sound, model: MusicGen) -> Tensor:
    """What is to be continued, as codes [K, T] of the language model; raises ValueError where it has too few of them."""
    codec, config = model.require_codec(), model.config
    if isinstance(start, Sound):
        audio = fold_channels(start.audio, min(config.channels, len(start.audio)))
        wav = torch.from_numpy(resample_all(audio, start.sample_rate, codec.sample_rate).astype(np.float32))
        return model.encode_prompt(wav[None])[0]
    start.header.require(codec.config.name, codec.token_space)
    streams = [torch.from_numpy(rows.astype(np.int64)) for rows in start.streams()]
    k = config.n_codebooks // config.channels
    if start.header.channel_coding is ChannelCoding.MID_SIDE or len(streams) not in (1, config.channels):
        wanted = "mono" if config.channels == 1 else "mono, or left and right"
        raise ValueError(f"{config.name} continues {wanted}, got {start.header.channel_coding.name.lower()}")
    if min(len(rows) for rows in streams) < k:
        raise ValueError(f"{config.name} continues streams of {k} codebooks or more, got {[len(rows) for rows in streams]}")
    rows = [rows[:k] for rows in (streams * config.channels)[: config.channels]]
    return torch.stack(rows, dim=1).flatten(0, 1)  # channels alternate
