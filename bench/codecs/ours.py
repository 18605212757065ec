"""Our models, and published EnCodec checkpoints, through the container and the command's own pipeline."""

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
    """A model at a bitrate: a bundled one by its name, or anything that `ecdc.load` takes."""

    model: str
    kbps: float

    @property
    def family(self) -> str:
        """The model's name, of a path the last part."""
        return Path(self.model).name

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.family} {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int, folder: Path) -> Coded:
        """Encode and decode float32 [N] by way of files."""
        wav, coded, back = (folder / name for name in ("in.wav", "a.ecdc", "out.wav"))
        soundfile.write(wav, audio, sample_rate, subtype="FLOAT")
        codec = loaded(self.model)
        n_bytes = encode_file(wav, coded, codec, kbps=self.kbps, channels=1 if codec.config.channels == 1 else None).n_bytes
        decode_file(coded, back, codec)
        decoded = soundfile.read(back, dtype="float32", always_2d=True)[0].mean(1)
        return Coded(fit_length(decoded, len(audio)), n_bytes)


@lru_cache(maxsize=2)
def loaded(model: str) -> Codec:
    """The model, read once in each process."""
    return load(model)


def make(model: str, kbps: float) -> Ours:
    """The model at a bitrate; raises ValueError where it has none so low."""
    loaded(model).config.codebooks_for(kbps)
    return Ours(model, kbps)


def rates(model: str) -> tuple[float, ...]:
    """What a default run measures: a doubling from step to step, up to the highest."""
    legal = loaded(model).config.bitrates_kbps
    chosen = [max(legal)]
    while (lower := [rate for rate in legal if rate <= chosen[0] / 2]) and chosen[0] > 1.5:
        chosen.insert(0, max(lower))
    return tuple(chosen)
