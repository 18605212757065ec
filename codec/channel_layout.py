"""Map audio channels to token streams, and divide codebooks among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..format import ChannelCoding
from ..format.arguments import finite_number, whole_number
from ..format.errors import ArgumentError
from ..format.streams import share_codebooks, stream_count
from .config import CodecConfig, HybridConfig, SplitConfig
from .modules.noise_hash import STREAM_FRAMES

STEREO = {  # how a mono codec may code two channels, and whether the side then gets one codebook only
    "mid_side": (ChannelCoding.MID_SIDE, False),
    "left_right": (ChannelCoding.LEFT_RIGHT, False),
    "narrow": (ChannelCoding.MID_SIDE, True),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file's channels map to the codec: `n_streams` signals with the codec's own channels."""

    coding: ChannelCoding
    channels: int  # of the audio
    is_narrow: bool = False  # the side gets one codebook, and mid all others

    @property
    def n_streams(self) -> int:
        """Number of signals that the codec processes in parallel."""
        return stream_count(self.coding)

    def split(self, block: np.ndarray, codec_channels: int) -> np.ndarray:
        """Convert audio [C, n] to the codec's input [S, codec_channels, n]."""
        if self.coding is ChannelCoding.JOINT:
            return np.broadcast_to(block, (codec_channels, block.shape[1]))[None]
        if self.coding is ChannelCoding.MID_SIDE:
            block = np.stack([block[0] + block[1], block[0] - block[1]]) * np.float32(0.5)
        return block[:, None]

    def join(self, decoded: np.ndarray) -> np.ndarray:
        """Convert the codec's output [S, codec_channels, n] to audio [C, n]."""
        if self.coding is ChannelCoding.JOINT:
            return decoded[0] if self.channels > 1 else decoded[0].mean(axis=0, keepdims=True)
        if self.coding is ChannelCoding.MID_SIDE:
            mid, side = decoded[:, 0]
            return np.stack([mid + side, mid - side])
        return decoded[:, 0]


def layout_for(config: CodecConfig, channels: int, stereo: str = "mid_side") -> Layout:
    """Return the layout of audio with `channels` channels for a codec.

    `stereo` is one of STEREO, for mono codecs. Raises ValueError for another one, and for more than two channels.
    """
    whole_number("channels", channels, 1)
    if stereo not in STEREO:
        raise ArgumentError(f"stereo must be one of {', '.join(STEREO)}, got {stereo!r}")
    if channels > 2:
        raise ArgumentError(f"{channels} channels: at most 2 can be coded; choose --channels mono")
    if config.channels > 1:
        return Layout(ChannelCoding.JOINT, channels)
    if channels == 1:
        return Layout(ChannelCoding.MONO, 1)
    coding, is_narrow = STEREO[stereo]
    return Layout(coding, 2, is_narrow and config.any_codebooks)


def starts_of_streams(config: CodecConfig, n_streams: int, first_frame: int = 0) -> tuple[int, ...]:
    """Return the frame number at which to open the decoder of each stream of a file, so that decoding begins at `first_frame`.

    A codec with noise picks it by these numbers, and two streams must not have the same noise: with mid and side, it would
    be heard on one side only.
    """
    kind = config.architecture
    has_noise = isinstance(kind, SplitConfig) or (isinstance(kind, HybridConfig) and kind.random_sign_bin > 0)
    step = STREAM_FRAMES if has_noise else 0
    return tuple(first_frame + i * step for i in range(n_streams))


def highest_note(config: CodecConfig, layout: Layout, kbps: float | None) -> list[str]:
    """Return a line for the user if a wanted bitrate is above the highest of a file with this layout."""
    highest = layout.n_streams * config.bitrates_kbps[-1]
    if kbps is None or kbps <= highest + 1e-9:
        return []
    name = f"{config.name}{' in stereo' if layout.n_streams > 1 else ''}"
    return [f"the highest bitrate of {name} is {highest:g} kbps; it is used instead of {kbps:g}"]


def codebooks_per_stream(config: CodecConfig, layout: Layout, kbps: float) -> tuple[int, ...]:
    """Return the K of each stream such that the whole file has the largest legal rate not above `kbps`.

    Left and right get equal shares. Mid gets three of four codebooks, because in most recordings the
    side is faint, and all but one if the layout is narrow. Raises ValueError that names the legal rates if `kbps` is too low.
    """
    kbps = float(finite_number("kbps", kbps))
    if layout.n_streams == 1:
        return (config.codebooks_for(kbps),)
    lowest = 2 * config.bitrates_kbps[0]
    if kbps + 1e-9 < lowest:
        rates = ", ".join(f"{2 * r:g}" for r in config.bitrates_kbps)
        raise ArgumentError(f"{config.name} in stereo starts at {lowest:g} kbps, got {kbps:g} (legal: {rates})")
    if layout.coding is ChannelCoding.LEFT_RIGHT or not config.any_codebooks:
        each = config.codebooks_for(kbps / 2)
        return (each, each)
    total = min(int((kbps + 1e-9) / config.kbps_per_codebook), 2 * config.n_codebooks)
    return share_codebooks(total, layout.coding, config.n_codebooks, layout.is_narrow)
