"""Mix channels of any layout to stereo or mono, as in ITU-R BS.775.

The centre is added to left and right at -3 dB, a surround channel to its own side at -3 dB, and
the low-frequency channel is dropped. The sum is scaled so that it cannot clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..format.errors import ArgumentError

HALF_POWER = 0.5**0.5  # -3 dB
WEIGHTS = {  # speaker: weights in left and right
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (HALF_POWER, HALF_POWER), "LFE": (0.0, 0.0), "LFE2": (0.0, 0.0),
    "BL": (HALF_POWER, 0.0), "BR": (0.0, HALF_POWER), "SL": (HALF_POWER, 0.0), "SR": (0.0, HALF_POWER),
    "BC": (0.5, 0.5), "FLC": (1.0, 0.0), "FRC": (0.0, 1.0), "DL": (1.0, 0.0), "DR": (0.0, 1.0),
    "WL": (HALF_POWER, 0.0), "WR": (0.0, HALF_POWER), "SDL": (HALF_POWER, 0.0), "SDR": (0.0, HALF_POWER),
    "TC": (0.5, 0.5), "TFL": (HALF_POWER, 0.0), "TFC": (0.5, 0.5), "TFR": (0.0, HALF_POWER),
    "TBL": (HALF_POWER, 0.0), "TBC": (0.5, 0.5), "TBR": (0.0, HALF_POWER), "TSL": (HALF_POWER, 0.0), "TSR": (0.0, HALF_POWER),
}  # fmt: skip
MASK = ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR")
USUAL = {  # layouts of files that do not declare one
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def speakers_of(mask: int, channels: int) -> tuple[str, ...]:
    """Return the speakers in a WAV channel mask; empty if they do not match the number of channels."""
    named = tuple(name for bit, name in enumerate(MASK) if mask >> bit & 1)
    return named if len(named) == channels and mask < 1 << len(MASK) else ()


@lru_cache(maxsize=16)
def fold_matrix(speakers: tuple[str, ...], have: int, channels: int) -> np.ndarray:
    """Return the weights [channels, have] that mix `have` channels to 1 or 2.

    `speakers` names each channel. If it is empty or has an unknown name, the usual layout for that
    number of channels is used. Above eight channels, every channel is added equally to both sides.
    """
    if len(speakers) != have or any(name not in WEIGHTS for name in speakers):
        speakers = USUAL.get(have, ())
    sides = np.array([WEIGHTS[name] for name in speakers]).T if speakers else np.ones((2, have))  # [2, have]
    if not sides.any():  # only a low-frequency channel
        sides = np.ones((2, have))
    rows = sides if channels == 2 else sides.sum(axis=0, keepdims=True)
    return (rows / np.abs(rows).sum(axis=1).max()).astype(np.float32)


def fold_channels(block: np.ndarray, channels: int, speakers: Sequence[str] = ()) -> np.ndarray:
    """Convert [C, n] to [channels, n]: stereo to mono by the mean, mono by repetition, more channels by mixing.

    `speakers` names the channels of the block, such as "FL", "FR", "FC"; if empty, the usual layout is
    assumed. Raises ValueError for more than two output channels, unless their number is unchanged or the input is mono.
    """
    have = block.shape[0]
    if have == channels:
        return block
    if have == 1:
        return np.repeat(block, channels, axis=0)
    if have == 2 and channels == 1:
        return block.mean(axis=0, keepdims=True)
    if channels > 2:
        raise ArgumentError(f"cannot turn {have} channels into {channels}")
    return fold_matrix(tuple(speakers), have, channels) @ block
