"""Our models and published EnCodec checkpoints, measured through the container and the pipeline of `ecdc`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from ...codec.checkpoints import load
from ...codec.model import Codec
from ...codec.pipeline import decode_file, encode_file
from .base import Coded, fit_length


@dataclass(frozen=True, slots=True)
class Ours:
    """A model at a bitrate: the name of a bundled model, or anything that `ecdc.load` accepts."""

    model: str
    kbps: float

    @property
    def family(self) -> str:
        """The model's name, or the last part of its path."""
        return Path(self.model).name

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.family} {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N] through files in `folder`."""
        wav, coded, back = (folder / name for name in ("in.wav", "a.ecdc", "out.wav"))
        soundfile.write(wav, audio, sample_rate, subtype="FLOAT")
        codec = loaded(self.model)
        n_bytes = encode_file(wav, coded, codec, kbps=self.kbps, channels=1 if codec.config.channels == 1 else None).n_bytes
        decode_file(coded, back, codec)
        decoded = soundfile.read(back, dtype="float32", always_2d=True)[0].mean(1)
        return Coded(fit_length(decoded, len(audio)), n_bytes)


@lru_cache(maxsize=2)
def loaded(model: str) -> Codec:
    """Load the model, once in each process."""
    return load(model)


def make(model: str, kbps: float) -> Ours:
    """Return the model at a bitrate; raises ValueError if the bitrate is too low for it."""
    loaded(model).config.codebooks_for(kbps)
    return Ours(model, kbps)


def rates(model: str) -> tuple[float, ...]:
    """Return the bitrates of a default run: the highest, and lower ones that each at least halve, down to 1.5 kbps."""
    legal = loaded(model).config.bitrates_kbps
    chosen = [max(legal)]
    while (lower := [rate for rate in legal if rate <= chosen[0] / 2]) and chosen[0] > 1.5:
        chosen.insert(0, max(lower))
    return tuple(chosen)
