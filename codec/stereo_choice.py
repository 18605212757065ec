"""Choose how a mono codec codes two channels, by the width of the recording: the power of its side over that of its mid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from .audio import AudioInfo, fold_channels
from .channel_layout import STEREO, Layout, layout_for
from .config import CodecConfig, SplitConfig
from .prepare import fixed_blocks

AUTO = "auto"
CHOICES = (AUTO, *STEREO)
WIDE, NARROW = 0.08, 0.04  # side power over mid power: -11 and -14 dB (docs/nano-48k.md, "Stereo")
SUM_SAMPLES = 1 << 16  # summed at once, however the audio is read, so that the sums are always the same


class Previewable(Protocol):
    """Audio whose blocks can be read once more than usual, unless it is a pipe."""

    info: AudioInfo

    def preview(self) -> Iterator[np.ndarray] | None:
        """Return blocks [C, n] of all audio, without taking them; None if it can be read only once."""
        ...


def layout_of(audio: Previewable, config: CodecConfig, channels: int | None = None, stereo: str = AUTO) -> Layout:
    """Return the layout of audio for a codec, in `channels` channels, or its own but at most 2; `stereo` is one of CHOICES.

    Raises ValueError for another one and for more than two channels, and AudioError for damage.
    """
    channels = min(audio.info.channels, 2) if channels is None else channels
    return layout_for(config, channels, settled_stereo(config, audio, channels, stereo))


def settled_stereo(config: CodecConfig, audio: Previewable, channels: int, stereo: str) -> str:
    """Return one of STEREO: `stereo` itself, or if that is "auto", what suits audio coded in `channels` channels.

    Audio that can be read only once gets mid_side. Raises AudioError for damage.
    """
    possible = possible_stereo(config, channels, stereo)
    if len(possible) == 1:
        return possible[0]
    blocks = audio.preview()
    return "mid_side" if blocks is None else stereo_for(*powers(fold_channels(b, 2, audio.info.speakers) for b in blocks))


def possible_stereo(config: CodecConfig, channels: int, stereo: str) -> tuple[str, ...]:
    """Return what `settled_stereo` may return. Only for split codecs is it known what suits which audio."""
    if stereo != AUTO:
        return (stereo,)
    return tuple(STEREO) if channels == 2 and isinstance(config.architecture, SplitConfig) else ("mid_side",)


def powers(blocks: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return the energies of mid and side of audio blocks [2, n]. They do not depend on how the audio is cut into blocks."""
    mid = side = 0.0
    for block, _ in fixed_blocks(blocks, SUM_SAMPLES):
        left, right = block.astype(np.float64)
        mid += float(np.square(left + right).sum())
        side += float(np.square(left - right).sum())
    return mid, side


def stereo_for(mid: float, side: float) -> str:
    """Return what is best for the energies of mid and side; mid_side for silence."""
    if side > WIDE * mid:
        return "left_right"
    return "narrow" if side < NARROW * mid else "mid_side"
