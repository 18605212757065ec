"""The settings that decide the bytes of a corpus. All others, such as the number of workers, do not change them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..codec.default_model import DEFAULT_MODEL
from ..codec.stereo_choice import CHOICES
from ..format.arguments import finite_number, whole_number
from .errors import CorpusError

FORMATS = ("webdataset", "parquet", "lhotse-shar", "hf")
CHANNELS: dict[str, int | None] = {"mono": 1, "stereo": 2, "keep": None}


@dataclass(frozen=True)
class Settings:
    """What is made of the audio."""

    model: str = DEFAULT_MODEL  # bundled model, or a folder or file with a checkpoint
    kbps: float = 6.0  # of each recording; the largest legal rate not above it is used
    channels: str = "mono"  # mono, stereo, or keep
    stereo: str = "mid_side"  # how a mono model codes two channels: mid_side, left_right, narrow, or auto
    effort: int = 0  # 0 to 10: how long codes are searched for
    entropy: str = "none"  # "auto" entropy codes with the model's prior: smaller, but much slower to write and read
    partial: bool = False  # code the readable part of damaged recordings
    format: str = "webdataset"
    shard_items: int = 1000  # most recordings in a shard
    shard_mb: float = 256.0  # of audio files, after which a shard ends

    def __post_init__(self) -> None:
        whole_number("shard_items", self.shard_items)
        whole_number("effort", self.effort)
        for name in ("kbps", "shard_mb"):
            finite_number(name, getattr(self, name))
        if self.format not in FORMATS:
            raise CorpusError(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if self.channels not in CHANNELS:
            raise CorpusError(f"channels must be one of {', '.join(CHANNELS)}, got {self.channels!r}")
        if self.stereo not in CHOICES:
            raise CorpusError(f"stereo must be one of {', '.join(CHOICES)}, got {self.stereo!r}")
        if self.shard_items < 1 or not self.shard_mb > 0:
            raise CorpusError(f"a shard needs at least one item and more than 0 MB, got {self.shard_items}, {self.shard_mb}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for JSON."""
        return dataclasses.asdict(self)
