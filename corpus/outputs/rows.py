"""A row of a corpus: the tokens of an item, and the values that every format stores with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...format.token_files import Tokens
from ..items import Item
from ..plan import as_type

OWN = (
    "key", "source", "start", "seconds", "frames", "frame_rate", "token_space", "model", "sample_rate", "channels",
    "channel_coding", "n_codebooks", "codes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """The tokens of an item."""

    item: Item
    tokens: Tokens

    @property
    def seconds(self) -> float:
        """Duration of the audio in seconds."""
        header = self.tokens.header
        return (self.tokens.original_n_samples or 0) / header.original_sample_rate

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return int(self.tokens.codes.shape[1])

    def facts(self) -> dict[str, Any]:
        """Return what every format says about the tokens, without the codes."""
        header = self.tokens.header
        return {
            "key": self.item.key, "source": self.item.source, "start": self.item.start, "seconds": round(self.seconds, 6),
            "frames": self.n_frames, "frame_rate": float(header.frame_rate), "token_space": header.token_space.hex(),
            "model": header.codec, "sample_rate": header.original_sample_rate, "channels": header.channels,
            "channel_coding": header.channel_coding.name.lower(), "n_codebooks": list(self.tokens.n_codebooks),
        }  # fmt: skip

    def carried(self, types: dict[str, str]) -> dict[str, Any]:
        """Return the carried columns with the names and types that they have in the whole corpus."""
        return {carried_name(name): as_type(self.item.columns.get(name), kind) for name, kind in types.items()}


def carried_name(name: str) -> str:
    """Return the name of a carried column in the output: with source_ in front if the name is one of ours."""
    return f"source_{name}" if name in OWN else name
