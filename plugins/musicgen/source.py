"""A token source for the container that generates with MusicGen."""

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
from ...format.errors import ArgumentError
from ...format.timing import ceil_div
from ..generators import Sound, decoded
from .checkpoint import load
from .config import MusicGenConfig
from .generate import Options
from .model import MusicGen
from .sampling import Guidance, Sampling
from .stems import SeparationError, separated

MAX_PROMPT, LONGEST_PROMPT = 4096, 10_000  # characters: stored in the header, whose size is limited; accepted at all


class MusicGenSource:
    """One piece of music as blocks of codes, generated on demand."""

    def __init__(
        self,
        model: MusicGen,
        prompt: str | None = None,
        options: Options = Options(),  # noqa: B008 - frozen
        melody: Tensor | None = None,
        seed: int = 0,
        prompt_codes: Tensor | None = None,
        melody_is: str = "",
        notes: tuple[str, ...] = (),
        lead_in: Tensor | None = None,
        continued: Header | None = None,
    ) -> None:
        """`prompt_codes` [K, T] are written first; other arguments as for `MusicGen.stream`.

        `melody_is` describes the melody in words. `notes` are lines for the user about what was done to the inputs.
        `continued` is the header of the file that is continued, and `lead_in` [K, T] its whole frames that decoding drops.
        """
        self.model, self.prompt, self.options = model, prompt, options
        self.melody, self.seed, self.prompt_codes, self.melody_is = melody, seed, prompt_codes, melody_is
        self.notes, self.lead_in, self.continued = notes, lead_in, continued

    def header(self) -> Header:
        """Return the stream's header: the codec's token space, marked as generated, with prompt, model and seed as tags."""
        codec, token_space = self.model.token_space()
        config, known = self.model.config, self.prompt_codes
        channels = config.channels_for(self.options.channels, None if known is None else len(known))
        config.rows(channels)  # raises ValueError for channels that the model does not make
        tags = [("generator", config.name), ("seed", str(self.seed)), ("guidance", f"{self.options.guidance.scale:g}")]
        tags += [("prompt", self.prompt[:MAX_PROMPT])] if self.prompt else []
        tags += [("melody", self.melody_is)] if self.melody_is else []
        return Header(
            codec=codec.name,
            token_space=token_space,
            sample_rate=codec.sample_rate,
            original_sample_rate=codec.sample_rate,
            hop_length=codec.hop_length,
            codebook_size=codec.codebook_size,
            max_codebooks=codec.n_codebooks,
            channels=channels,
            channel_coding=ChannelCoding.MONO if channels == 1 else ChannelCoding.LEFT_RIGHT,
            pre_skip=self.continued.pre_skip if self.continued else 0,
            output_gain=self.continued.output_gain if self.continued else 0,
            provenance=Provenance.GENERATED,
            tags=tuple(tags),
        )

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield blocks [K, t], uint16, with the left channel's codebooks before the right channel's."""
        prompt_codes = None if self.prompt_codes is None else self.prompt_codes[None]
        if self.lead_in is not None and self.lead_in.shape[-1]:
            yield self._rows(self.lead_in[None])
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
    """Open a source of `seconds` of music. This is the entry point of the group `ecdc.generators`.

    `codec` replaces the one next to the model. Of `options`, `int8` and `text_encoder` go to `load`. `melody` (a Sound, or a
    tensor as for `MusicGen.stream`), `prompt_codes`, and `start` (a CodeFile or a Sound, converted to `prompt_codes`) go to
    the source. A CodeFile of another codec is decoded first; it must have been opened by its path. Numbers for `guidance`,
    `temperature`, `top_k` and `top_p` become Guidance and Sampling. `separate` takes drums and bass out of a melody (True,
    False, or None: if demucs is installed). The others, such as `channels`, go to `Options`. Raises ValueError, in one line,
    for options that do not fit.
    """
    if prompt is not None and not prompt.strip():
        raise ArgumentError("the prompt is empty")
    if prompt is not None and len(prompt) > LONGEST_PROMPT:
        raise ArgumentError(f"a prompt has {LONGEST_PROMPT} characters at most, got {len(prompt)}")
    loading = {key: options.pop(key) for key in ("int8", "text_encoder") if key in options}
    about: dict[str, Any] = {key: options.pop(key) for key in ("melody", "prompt_codes") if key in options}
    start = options.pop("start", None)
    made = load(model, codec=codec is None, **loading)
    made.codec = codec or made.codec
    separate = options.pop("separate", None)
    if isinstance(about.get("melody"), Sound):
        sound, about["melody_is"] = _melody(about["melody"], separate)
        about["melody"] = _mono(sound, made.config)
    if isinstance(start, CodeFile) and start.header.token_space != made.token_space()[1]:
        about["notes"] = (_recoded(start, made),)
        start = decoded(start)
    if start is not None:
        about["prompt_codes"] = codes = _codes_of(start, made, options.get("channels"))
    if isinstance(start, CodeFile):
        first, last = _heard_frames(start)
        about |= {"lead_in": codes[:, :first], "prompt_codes": codes[:, first:last], "continued": start.header}
    return MusicGenSource(made, prompt, _options(seconds, options, made.config), seed=seed, **about)


def _options(seconds: float, given: dict[str, Any], config: MusicGenConfig) -> Options:
    """Build Options from plain numbers or from their own classes; the model's values are the defaults."""
    drawing = {key: given.pop(key) for key in ("temperature", "top_k", "top_p") if key in given}
    usual: dict[str, Any] = {"top_k": config.top_k, "temperature": config.temperature}
    options: dict[str, Any] = {"sampling": Sampling(**(usual | drawing)), "guidance": config.guidance} | given
    if isinstance(options["guidance"], int | float):
        options["guidance"] = Guidance(options["guidance"])
    return Options(seconds=seconds, **options)


def _melody(sound: Sound, separate: bool | None) -> tuple[Sound, str]:
    """Return the sound to use as melody, and a description of it. None separates if possible."""
    if separate is not False:
        try:
            return separated(sound), "without drums and bass, by demucs"
        except SeparationError as error:
            if separate:
                raise
            return sound, f"the whole mix: {error}"
    return sound, "the whole mix"


def _mono(sound: Sound, config: MusicGenConfig) -> Tensor:
    """Return a melody as mono audio [N] at the model's rate; raises ValueError if it is shorter than one chroma frame."""
    audio = resample_all(fold_channels(sound.audio, 1), sound.sample_rate, config.sample_rate)
    if config.n_chroma and audio.shape[1] < config.chroma_hop:
        least = config.chroma_hop / config.sample_rate
        raise ArgumentError(f"a melody must last {least:.3f} s or more, got {audio.shape[1] / config.sample_rate:.3f} s")
    return torch.from_numpy(np.ascontiguousarray(audio[0], np.float32))


def _recoded(start: CodeFile, model: MusicGen) -> str:
    """Return a line which says that a prompt gets other tokens. Raises WrongModel if only the name of its codec fits."""
    codec, token_space = model.token_space()
    if start.codec == codec.name:
        start.header.require(codec.name, token_space)
    return f"the prompt holds tokens of {start.codec}; it is decoded and coded again as {codec.name}"


def _heard_frames(file: CodeFile) -> tuple[int, int]:
    """Return the first frame that is heard, and the frame after the last one.

    A file that was cut out of a longer one has more frames at both ends, so that its decoder can settle.
    """
    skip, hop, n_samples = file.header.pre_skip, file.header.hop_length, file.n_samples
    assert n_samples is not None and file.frames is not None  # all codes were read
    return min(skip // hop, file.frames), min(ceil_div(skip + n_samples, hop), file.frames)


def _codes_of(start: CodeFile | Sound, model: MusicGen, channels: int | None) -> Tensor:
    """Return the codes [K, T] to continue for the language model; raises ValueError if there are too few codebooks."""
    config = model.config
    if isinstance(start, Sound):
        most = (2 if config.mono else config.channels) if channels is None else channels
        audio = fold_channels(start.audio, min(most, len(start.audio)))
        wav = torch.from_numpy(resample_all(audio, start.sample_rate, config.sample_rate).astype(np.float32))
        return model.encode_prompt(wav[None], channels)[0]
    streams = [torch.from_numpy(rows.astype(np.int64)) for rows in start.streams()]
    is_mid_side = start.header.channel_coding is ChannelCoding.MID_SIDE
    if is_mid_side and config.mono and channels != 2:
        streams, is_mid_side = streams[:1], False  # mono equals the mid channel
    if channels is None:
        channels = min(2, len(streams)) if config.mono else config.channels
    k = config.rows(channels) // channels
    if is_mid_side or len(streams) not in (1, channels):
        wanted = "mono" if channels == 1 else "mono, or left and right (ecdc encode --stereo left_right)"
        raise ArgumentError(f"{config.name} continues {wanted}, got {start.header.channel_coding.name.lower()}")
    if min(len(rows) for rows in streams) < k:
        few, advice = min(len(rows) for rows in streams), "give the audio that `ecdc decode` makes of it"
        raise ArgumentError(f"{config.name} continues streams of {k} codebooks or more, this file has {few}; {advice}")
    rows = [rows[:k] for rows in (streams * channels)[:channels]]
    return torch.stack(rows, dim=1).flatten(0, 1)  # channels alternate
