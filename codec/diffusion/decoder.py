"""Multi-band diffusion as a decoder: from a codec's latents to sampled audio (arXiv 2308.02560)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ...format.errors import ArgumentError
from ..model import Codec
from . import checkpoint
from .bands import MultiBandProcessor, equalise, re_eq
from .config import BandConfig, DiffusionConfig
from .noise import BatchNoise, ItemNoise, Noise
from .sampler import Call, plan
from .schedule import NoiseSchedule
from .unet import DiffusionUnet
from .windows import Windows

DEFAULT_STEPS = 20  # network calls per band
FADE_SECONDS = 0.02  # on each side of a border between windows
Progress = Callable[[int, int], None]  # calls done, total calls


class Band(nn.Module):
    """One band: its network, its noise schedule, and its processor if it has one."""

    def __init__(self, config: BandConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.unet = DiffusionUnet(config.unet)
        self.processor = None if config.processor is None else MultiBandProcessor(config.processor, sample_rate)


@dataclass(frozen=True)
class _Run:
    """What all bands of one run share."""

    latents: Tensor  # [R, D, T]
    noise: Noise
    windows: Windows
    tick: Callable[[], None]


class MultiBandDiffusion(nn.Module):
    """Samples audio from a codec's latents: one diffusion process per band, whose outputs are summed.

    Only training keeps a process within its band.

    Long signals may be decoded in windows (`window_seconds`). Each call of a network processes the
    whole signal, window by window, before that band's next call, and noise depends on the position
    in the signal. So a signal of one window (up to one and a half times `window_seconds`) decodes
    bit for bit as it does without windows. With more windows, each call sees its window plus a
    context that covers the reach of the convolutions. Local operations (convolutions, the stretched
    condition, samplers, band processors) then give the same values as on the whole signal, up to
    rounding, also in cross-fades. Other operations do not: norms take their statistics, LSTMs their
    memory and attention its span from the window. The published networks have norms, so their
    windows differ from the whole as decodings of excerpts do.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.bands = nn.ModuleList(Band(band, config.sample_rate) for band in config.bands)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MultiBandDiffusion:
        """Load a decoder for inference from a file of ours (.safetensors) or a published one (.th, .pt).

        No code from the file is run. Raises CheckpointError, with one line, for other files and for
        missing, unknown or wrongly shaped tensors.
        """
        config, state = checkpoint.read(Path(path))
        with torch.device("meta"):
            model = cls(config)
        checkpoint.fill(model, state, Path(path))
        return model.eval().requires_grad_(False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and configuration to one .safetensors file, which `load` reads."""
        checkpoint.write(Path(path), self.config, self.state_dict())

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def channels(self) -> int:
        """Number of channels C of the networks."""
        return self.config.bands[0].unet.channels

    @torch.no_grad()
    def decode(
        self,
        codes_or_latents: Tensor,
        codec: Codec,
        n_samples: int | None = None,
        *,
        steps: int | Sequence[int] = DEFAULT_STEPS,
        sampler: str = "ancestral",
        seed: int | Sequence[int] | torch.Generator | BatchNoise = 0,
        window_seconds: float | None = None,
        equaliser: str | None = "item",
        progress: Progress | None = None,
    ) -> Tensor:
        """Decode codes, or the latents that they stand for, to audio.

        Shapes: codes [B, K, T] (integers) or latents [B, D, T] -> [B, C, N]. For stereo in two mono
        streams: [B, 2, K, T] or [B, 2, D, T] -> [B, 2, N]. N is T * hop, or `n_samples` of it.
        `steps`: number of calls per network, or their times. `sampler`: ancestral (published), ddim or
        dpm. `seed`: one for all items, one for each, or a generator that draws them. An item's audio
        depends only on its own seed and latents, and its streams share their noise. BatchNoise() draws
        as the published code does. `equaliser` gives each mel band the loudness of the codec's own
        decoding: per item, "batch" as published, or None. `progress` is called after every call of a
        network. Raises ValueError for a codec that does not fit, and for wrong shapes and options.
        """
        if equaliser not in ("item", "batch", None):
            raise ArgumentError(f"equaliser must be 'item', 'batch' or None, got {equaliser!r}")
        self._check_codec(codec)
        latents = self._latents(codes_or_latents, codec)
        shape = self._shape(codes_or_latents, codec, n_samples)
        if 0 in shape:
            return latents.new_zeros(shape)
        wav = self.generate(
            latents, shape[-1], steps=steps, sampler=sampler, seed=seed, window_seconds=window_seconds,
            n_streams=shape[1] if codes_or_latents.dim() == 4 else 1, progress=progress,
        )  # fmt: skip
        if equaliser is not None and shape[-1] > 1:
            reference = _decode_blocks(codec, latents, window_seconds)[..., : shape[-1]].to(wav)
            wav = (equalise if equaliser == "item" else re_eq)(wav, reference, self.sample_rate)
        return wav.view(shape)

    def generate(self, latents: Tensor, n_samples: int, **options: Any) -> Tensor:
        """Sample audio [B, C, n_samples] from latents [B, D, T], without equaliser. Options as for `generate_blocks`."""
        blocks = list(self.generate_blocks(latents, n_samples, **options))
        return torch.cat(blocks, dim=-1) if blocks else latents.new_zeros(len(latents), self.channels, 0)

    @torch.no_grad()
    def generate_blocks(
        self,
        latents: Tensor,
        n_samples: int,
        *,
        steps: int | Sequence[int] = DEFAULT_STEPS,
        sampler: str = "ancestral",
        seed: int | Sequence[int] | torch.Generator | BatchNoise = 0,
        window_seconds: float | None = None,
        n_streams: int = 1,
        progress: Progress | None = None,
    ) -> Iterator[Tensor]:
        """Like `generate`, in blocks [B, C, n], one per window. Only the latents and windows are in memory.

        Every `n_streams` consecutive latents are the streams of one item. Options are those of `decode`.
        Raises ValueError for wrong options before the first block is computed.
        """
        self._check_latents(latents)
        windows = self._windows(n_samples, window_seconds)
        if isinstance(seed, BatchNoise) and windows.count > 1:
            raise ArgumentError("BatchNoise draws for the whole signal: decode without windows, or give a seed")
        noise = seed if isinstance(seed, BatchNoise) else ItemNoise.of(seed, len(latents) // n_streams)
        calls = [plan(sampler, NoiseSchedule(band.schedule), steps) for band in self.config.bands]
        if 0 in (n_samples, latents.shape[0], latents.shape[-1]):
            return
        run = _Run(latents.to(self._like()), noise, windows, _counter(sum(map(len, calls)) * windows.count, progress))
        streams = [self._band_blocks(i, own, run) for i, own in enumerate(calls)]
        for parts in zip(*streams, strict=True):
            # A band's first block is computed only when it is needed, so with one window the bands run one after another.
            yield sum(parts[1:], start=parts[0])

    def _band_blocks(self, index: int, calls: Sequence[Call], run: _Run) -> Iterator[Tensor]:
        """Generate the signal of one band as a chain of streams. Each stream is one call of the network."""
        band: Any = self.bands[index]
        gain = band.config.schedule.noise_scale
        condition = _condition(band.unet, run)

        def initial() -> Iterator[Tensor]:
            for first in range(0, run.windows.n_samples, run.windows.step):
                size = min(run.windows.step, run.windows.n_samples - first)
                yield gain * run.noise.draw(index, 0, first, run.latents.new_empty(len(run.latents), self.channels, size))

        def step(number: int, call: Call) -> Callable[[Tensor, int], Tensor]:
            def apply(state: Tensor, first: int) -> Tensor:
                x = state[:, : self.channels]
                estimate = gain * band.unet(x, call.time, condition(first, x.shape[-1]))
                noise = run.noise.draw(index, number, first, x) if call.noisy else None
                run.tick()
                return call.advance(state, estimate, noise)

            return apply

        blocks = initial()
        for number, call in enumerate(calls, start=1):
            blocks = run.windows.apply(blocks, step(number, call))
        return blocks if band.processor is None else run.windows.apply(blocks, lambda x, _: band.processor.restore(x))

    def _windows(self, n_samples: int, seconds: float | None) -> Windows:
        """Return windows on a grid that fits all bottlenecks, or one window for the whole signal."""
        if seconds is None:
            return Windows(n_samples, max(1, n_samples))
        bands: list[Any] = list(self.bands)
        unets: list[DiffusionUnet] = [band.unet for band in bands]
        if any((unet.config.kernel_size - unet.config.stride) % 2 for unet in unets):
            raise ArgumentError("a network whose kernel and stride differ by an odd number cannot be cut into windows")
        grid = math.lcm(*(unet.config.total_stride for unet in unets))
        filters = [band.processor.split_bands.lowpass.reach for band in bands if band.processor is not None]
        context = max([unet.reach for unet in unets] + filters)
        fade, context = (-(-x // grid) * grid for x in (math.ceil(FADE_SECONDS * self.sample_rate), context))
        step = int(seconds * self.sample_rate) // grid * grid
        if step < 4 * fade:
            raise ArgumentError(f"window_seconds must be at least {4 * fade / self.sample_rate:.3f}, got {seconds:g}")
        return Windows(n_samples, step, context, fade)

    def _like(self) -> Tensor:
        return next(self.parameters())

    def _check_codec(self, codec: Codec) -> None:
        config, unet = codec.config, self.config.bands[0].unet
        if config.normalize or config.segment_length:
            raise ArgumentError(f"{config.name} codes scaled segments, which this decoder does not support")
        ours, theirs = (self.sample_rate, self.channels), (config.sample_rate, config.channels)
        if ours != theirs:
            raise ArgumentError(f"this decoder is for {ours[0]} Hz and {ours[1]} channels, {config.name} has {theirs}")
        if unet.condition_dim not in (None, config.dimension):
            raise ArgumentError(
                f"this decoder needs latents of dimension {unet.condition_dim}, {config.name} has {config.dimension}"
            )

    def _check_latents(self, latents: Tensor) -> None:
        dim = self.config.bands[0].unet.condition_dim
        if latents.dim() != 3 or (dim is not None and latents.shape[1] != dim):
            raise ArgumentError(f"latents must be [B, {dim or 'D'}, T], got {tuple(latents.shape)}")

    def _latents(self, given: Tensor, codec: Codec) -> Tensor:
        """Return the latents [R, D, T] of codes or latents, with streams as separate batch items."""
        if given.dim() not in (3, 4) or (given.dim() == 4 and self.channels > 1):
            raise ArgumentError(f"codes must be [B, K, T] or, of mono streams, [B, S, K, T], got {tuple(given.shape)}")
        rows = given.flatten(0, -3)
        if not rows.is_floating_point():
            rows = codec._checked_codes(rows)
            rows = codec.quantizer.decode(rows)
        self._check_latents(rows)
        return rows

    def _shape(self, given: Tensor, codec: Codec, n_samples: int | None) -> tuple[int, int, int]:
        """Return the shape [B, C, N] of the output for codes or latents."""
        longest = given.shape[-1] * codec.config.hop_length
        n_samples = longest if n_samples is None else n_samples
        if not 0 <= n_samples <= longest:
            raise ArgumentError(f"n_samples must be 0..{longest}, got {n_samples}")
        return given.shape[0], given.shape[1] if given.dim() == 4 else self.channels, n_samples


def _condition(unet: DiffusionUnet, run: _Run) -> Callable[[int, int], Tensor | None]:
    """Return a function that gives the condition of a window (first sample, n): its part of the whole condition.

    If the condition is added, it is stretched over the whole signal first, so each step of the
    bottleneck gets the same frame in every window.
    """
    latents, n_samples = run.latents, run.windows.n_samples
    n_frames = latents.shape[-1]
    if unet.config.condition_dim is None:
        return lambda first, n: None
    if run.windows.count == 1:
        return lambda first, n: latents
    if unet.config.cross_attention:
        return lambda first, n: latents[..., first * n_frames // n_samples : -(-(first + n) * n_frames // n_samples)]
    n_steps, stride = unet.bottleneck_length(n_samples), unet.config.total_stride
    if n_frames > 2 * n_steps:
        raise ArgumentError(f"latents must have at most {2 * n_steps} frames for {n_samples} samples, got {n_frames}")
    frames = F.interpolate(torch.arange(n_frames, dtype=torch.float32)[None, None], n_steps)[0, 0].long().to(latents.device)
    return lambda first, n: latents[..., frames[first // stride :][: unet.bottleneck_length(n)]]


def _decode_blocks(codec: Codec, latents: Tensor, window_seconds: float | None) -> Tensor:
    """Decode [R, C, N] with the codec's own decoder, in blocks as long as the windows."""
    decoder: Any = codec.decoder
    n_frames = latents.shape[-1]
    if window_seconds is None or n_frames == 0:
        whole: Tensor = decoder(latents)
        return whole
    size = max(1, int(window_seconds * codec.config.frame_rate))
    state, parts = decoder.initial_state(len(latents)), []
    for first in range(0, n_frames, size):
        parts.append(decoder(latents[..., first : first + size], state, first + size >= n_frames))
    return torch.cat(parts, dim=-1)


def _counter(total: int, progress: Progress | None) -> Callable[[], None]:
    """Return a function that counts network calls and reports them to `progress`."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return tick
