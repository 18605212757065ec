"""A loss for audio that is decoded and coded again: the second coding should find what the first one wrote.

Without it, every generation adds an error like that of the first. With it, the decoder learns to write signals whose levels
and shape are those of the codes. It is meant for frozen tokens: an encoder that is trained too could make the loss small by
telling less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...codec.config import SplitConfig
from ...codec.modules.split_encoder import SplitEncoder

FIRST, LAST = 3, 2  # frames at the start and end of an item whose window reaches into what has nothing to overlap with
LEAST_LEVEL_ERROR = 0.25  # dB^2, of the first coding
LEAST_SHAPE_ERROR = 1e-2  # mean square


def interpolated(audio: Tensor, factor: int) -> Tensor:
    """Raise the rate of audio [..., N] by `factor`: [..., N * factor]. The signal is treated as periodic."""
    n = audio.shape[-1] * factor
    return audio if factor == 1 else torch.fft.irfft(torch.fft.rfft(audio)[..., : audio.shape[-1] // 2] * factor, n=n)


def second_coding(encoder: SplitEncoder, frames: Tensor, exact: Tensor, base: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """Measure decoded audio: the levels [B, n, steps, bands] of the core, and the shape's latents [B, D, n].

    `frames` [B, T, 2 * hop] and their levels `exact` [B, T, F] are those of the first coding, and are used where `decoded`
    [B, 1, T * core_hop] has no complete window. `base` [B, T, F] are the levels that the shape is relative to, in both codings.
    """
    hop, config, n_frames = encoder.hop, encoder.config, frames.shape[1]
    samples = interpolated(decoded[:, 0], config.core_factor)[:, hop // 2 :]
    again = samples.unfold(1, 2 * hop, hop)[:, FIRST - 1 : n_frames - LAST - 1]
    found = encoder.analysis(again).unflatten(-1, (config.steps, -1))
    above = exact[:, FIRST : n_frames - LAST].unflatten(-1, (config.steps, -1))[..., config.bands :]
    levels = torch.cat([exact[:, :FIRST], torch.cat([found[..., : config.bands], above], -1).flatten(-2)], 1)
    state = encoder.initial_state(len(frames))
    latents = encoder.shape(torch.cat([frames[:, :FIRST], again], 1), levels, base[:, : n_frames - LAST], state)
    return found[..., : config.bands], latents[..., FIRST:]


def recode_loss(
    encoder: SplitEncoder, first: tuple[Tensor, Tensor, Tensor, Tensor], coded: tuple[Tensor, Tensor], decoded: Tensor,
    counts: Tensor,
) -> Tensor:  # fmt: skip
    """Return how far a second coding of the levels and of the shape is from the first one: a scalar.

    The error of each frame counts relative to the first coding's error in the same item, as log(1 + ratio), so that frames of
    near silence, which have large errors that nobody hears, do not decide.
    Shapes: `first` holds frames [B, T, 2 * hop], levels [B, T, F], base levels [B, T, F] and latents [B, D, T] of the first
    coding; `coded` its decoded levels [B, T, F] and shape [B, D, T]; `decoded` is the core's audio [B, 1, T * core_hop].
    `counts` [B, 2] says how many codebooks of each kind an item has; zero leaves it out.
    """
    frames, exact, base, latents = first
    levels, shape = (x.detach() for x in coded)
    kept, config = slice(FIRST, frames.shape[1] - LAST), encoder.config
    found, again = second_coding(encoder, frames, exact, base, decoded)
    wanted, original = (core_levels(x[:, kept], config) for x in (levels, exact))
    target = shape[..., kept]
    errors = (found - wanted).square().mean((2, 3)), (again - target).square().mean(1)  # [B, n] each
    firsts = (original - wanted).square().mean((1, 2, 3)), (latents.detach()[..., kept] - target).square().mean((1, 2))
    least = LEAST_LEVEL_ERROR, LEAST_SHAPE_ERROR
    ratios = [error / usual.clamp(min=floor)[:, None] for error, usual, floor in zip(errors, firsts, least, strict=True)]
    return (torch.stack(ratios, 1).log1p().mean(2) * (counts > 0)).sum() / len(frames)


def core_levels(levels: Tensor, config: SplitConfig) -> Tensor:
    """Return the bands of the core: [B, T, F] -> [B, T, steps, bands]."""
    return levels.unflatten(-1, (config.steps, -1))[..., : config.bands]
