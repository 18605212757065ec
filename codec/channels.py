"""Fold channels by ITU-R BS.775: any layout to stereo or mono.

The centre enters left and right at -3 dB, a surround its own side at -3 dB, and the
low-frequency channel is left out. The sum is scaled so that it cannot clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

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
USUAL = {  # layouts of files that do not tell theirs
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def speakers_of(mask: int, channels: int) -> tuple[str, ...]:
    """The speakers that the bits of a WAV channel mask name; empty if they are not those of `channels` channels."""
    named = tuple(name for bit, name in enumerate(MASK) if mask >> bit & 1)
    return named if len(named) == channels and mask < 1 << len(MASK) else ()


@lru_cache(maxsize=16)
def fold_matrix(speakers: tuple[str, ...], have: int, channels: int) -> np.ndarray:
    """Weights [channels, have] that fold `have` channels to 1 or 2.

    `speakers` names each channel; if it is empty or has an unknown name, the usual layout
    for that number of channels is used. Beyond eight, every channel enters both sides alike.
    """
    if len(speakers) != have or any(name not in WEIGHTS for name in speakers):
        speakers = USUAL.get(have, ())
    sides = np.array([WEIGHTS[name] for name in speakers]).T if speakers else np.ones((2, have))  # [2, have]
    if not sides.any():  # a low-frequency channel and nothing else
        sides = np.ones((2, have))
    rows = sides if channels == 2 else sides.sum(axis=0, keepdims=True)
    return (rows / np.abs(rows).sum(axis=1).max()).astype(np.float32)


def fold_channels(block: np.ndarray, channels: int, speakers: Sequence[str] = ()) -> np.ndarray:
    """[C, n] -> [channels, n]: mono of stereo is the mean, a missing channel repeats mono, more are folded.

    `speakers` names the channels of the block, as "FL", "FR", "FC" and so on; empty: the usual
    ones of so many. Raises ValueError for more than two channels out of fewer or others.
    """
    have = block.shape[0]
    if have == channels:
        return block
    if have == 1:
        return np.repeat(block, channels, axis=0)
    if have == 2 and channels == 1:
        return block.mean(axis=0, keepdims=True)
    if channels > 2:
        raise ValueError(f"cannot turn {have} channels into {channels}")
    return fold_matrix(tuple(speakers), have, channels) @ block
