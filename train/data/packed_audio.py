"""Random windows from packed audio. What a step sees depends only on (seed, step)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...format.errors import EcdcError
from ..engine.hardware import on_host
from .memory_maps import read_index, sample_rate_of
from .recipe import DataRecipe

MIN_RMS = 0.003  # of full scale; quieter windows are drawn again
MAX_DRAWS = 8


class EmptyData(EcdcError, ValueError):
    """A data folder contains no usable audio."""


def generator_for(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """Return a generator for one step, so that a resumed run draws what an uninterrupted one would."""
    mixed = np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


@dataclass(frozen=True)
class PackedAudio:
    """The memory maps of one packed folder, sampled with a weight per group."""

    folder: Path
    maps: Mapping[str, np.ndarray]  # group -> int16 [N]
    sample_rate: int  # Hz

    @classmethod
    def open(cls, folder: Path, split: str, min_samples: int) -> PackedAudio:
        """Open `<group>.<split>.i16` of every group with at least `min_samples`.

        Raises EmptyData if no group has as many, or if the folder holds masters, which are not mono.
        """
        sizes = {path: path.stat().st_size // 2 for path in sorted(folder.glob(f"*.{split}.i16")) if path.is_file()}
        if any(row.get("channels", 1) != 1 for row in read_index(folder)):
            raise EmptyData(f"{folder}: holds masters in stereo, not packed audio; name the folder that contains it")
        maps = {
            path.name.split(".")[0]: np.memmap(path, dtype="<i2", mode="r", shape=(size,))
            for path, size in sizes.items()
            if size >= min_samples
        }
        if not maps:
            raise EmptyData(f"{folder}: {_lack(folder, split, max(sizes.values(), default=0), min_samples)}")
        return cls(folder, maps, sample_rate_of(folder))

    @property
    def fingerprint(self) -> str:
        """Return a hash that changes when files are added to the folder or replaced; its path does not matter."""
        sizes = {group: len(source) for group, source in sorted(self.maps.items())}
        about = json.dumps([self.sample_rate, sizes, read_index(self.folder)], sort_keys=True)
        return hashlib.sha256(about.encode()).hexdigest()

    def batch(self, weights: dict[str, float], shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw windows: the group by its weight, the time uniformly. Near-silent windows are drawn again.

        Shapes: shape (B, N) -> audio [B, 1, N] in [-1, 1].
        """
        groups = sorted(g for g in self.maps if weights.get(g, 0.0) > 0) or sorted(self.maps)
        probability = torch.tensor([float(weights.get(g, 1.0) or 1.0) for g in groups])
        picks = torch.multinomial(probability, shape[0], replacement=True, generator=generator)
        rows = [self._window(self.maps[groups[i]], shape[1], generator) for i in picks.tolist()]
        return torch.stack(rows)[:, None]

    def _window(self, source: np.ndarray, n_samples: int, generator: torch.Generator) -> Tensor:
        for _ in range(MAX_DRAWS):
            start = int(torch.randint(len(source) - n_samples + 1, (1,), generator=generator))
            audio = _read(source, start, n_samples)
            if _rms(audio) > MIN_RMS:
                break
        return audio


def _lack(folder: Path, split: str, n_samples: int, min_samples: int) -> str:
    """Say why no group of a split is usable: its longest one has only `n_samples`."""
    if not any(folder.glob("*.i16")):
        return "no packed audio; see `ecdc train fetch` and `ecdc train pack`"
    if not n_samples:
        return f"no packed audio for the {split} split; pack at least two different files"
    rate = sample_rate_of(folder)
    found, wanted = n_samples / rate, min_samples / rate
    return f"too little audio in the {split} split: {found:.1f} s, {wanted:.1f} s are needed; pack more files"


def augment(audio: Tensor, recipe: DataRecipe, generator: torch.Generator | None) -> Tensor:
    """Apply random gain and polarity, and to some items a mix with another item or a band limit. Never clips.

    Shapes: [B, 1, N] -> [B, 1, N].
    """

    def draw() -> Tensor:
        return torch.rand(audio.shape[0], 1, 1, generator=generator, device=audio.device)

    mixed = draw() < recipe.mix_probability
    audio = torch.where(mixed, audio + audio.roll(1, dims=0) * draw(), audio)
    low, high = recipe.gain_db
    gain = 10 ** ((low + (high - low) * draw()) / 20)
    sign = torch.randint(0, 2, (audio.shape[0], 1, 1), generator=generator, device=audio.device) * 2 - 1
    if recipe.band_limit_probability:
        audio = _limit_bands(audio, recipe.band_limit_probability, generator)
    audio = audio * gain * sign
    return audio / audio.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)


def _limit_bands(audio: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Low-pass some items at a random edge from 1/4 to 1 of the band, like telephones, old files and lossy copies."""
    batch_size = audio.shape[0]
    chosen, edges = torch.rand(2, batch_size, 1, 1, generator=generator, device=audio.device)
    chosen, edges = chosen < probability, 0.25 + 0.75 * edges
    if on_host(chosen) and not chosen.any():
        return audio
    spectra = torch.fft.rfft(audio)
    place = torch.linspace(0, 1, spectra.shape[-1], device=audio.device)
    spectra = spectra * ((edges - place) / 0.02).clamp(0, 1)  # the slope is 2 % of the band
    return torch.where(chosen, torch.fft.irfft(spectra, n=audio.shape[-1]), audio)


def validation_clips(folder: Path, seconds: float, per_group: int) -> dict[str, Tensor]:
    """Return the fixed validation clips: evenly spaced windows of the validation slice.

    Returns group -> audio [n, 1, N]; N is smaller than requested if a group is shorter. Near-silent
    windows are shifted in steps of one second.
    """
    packed = PackedAudio.open(folder, "valid", 1)
    clips = {}
    for group, source in packed.maps.items():
        n_samples = min(round(seconds * packed.sample_rate), len(source))
        rows = []
        for start in np.linspace(0, len(source) - n_samples, per_group).astype(int):
            later = range(start, len(source) - n_samples + 1, packed.sample_rate)
            audio = next((a for a in (_read(source, s, n_samples) for s in later) if _rms(a) > MIN_RMS), None)
            rows.append(_read(source, start, n_samples) if audio is None else audio)
        clips[group] = torch.stack(rows)[:, None]
    return clips


def _read(source: np.ndarray, start: int, n_samples: int) -> Tensor:
    return torch.from_numpy(source[start : start + n_samples].astype(np.float32) / 32768)


def _rms(audio: Tensor) -> float:
    return float(audio.square().mean().sqrt())


def licences(folder: Path) -> dict[str, str]:
    """Return package -> licence of a fetched folder, for the model card; empty for a user's own data."""
    path = folder / "licences.json"
    return json.loads(path.read_text()) if path.exists() else {}
