"""The settings of a training run: a TOML file, read strictly."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..config import CodecConfig, ConfigError, Strict

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class DataRecipe(Strict):
    """The contents of a batch."""

    batch_size: int = 12
    micro_batches: int = 1  # parts of a batch whose gradients are accumulated, to save memory
    seconds: float = 1.0  # per item
    weights: dict[str, float] = field(default_factory=dict)  # group -> weight; groups that are not listed have weight 1
    gain_db: tuple[float, ...] = (-14.0, 4.0)
    mix_probability: float = 0.1  # of adding another item of the batch
    band_limit_probability: float = 0.0  # of removing everything above a random edge


@dataclass(frozen=True, slots=True)
class LossRecipe(Strict):
    """The weight of each loss by name, and the windows (samples) of the spectral losses."""

    mel_log: float = 1.0
    mel_linear: float = 1.0
    complex: float = 0.5
    wave: float = 5.0
    pulse: float = 0.0
    commitment: float = 0.25
    tile: float = 0.0  # levels of auditory bands in short tiles, per dB
    level_code: float = 0.0  # squared error of coded levels, per dB^2; only affects the taps of a split codec
    windows_per_step: int = 0  # number of `windows` drawn for each step; 0: all
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    complex_windows: tuple[int, ...] = (256, 1024)


@dataclass(frozen=True, slots=True)
class AdversaryRecipe(Strict):
    """Discriminators, and their influence on the decoder (adversary.py)."""

    windows: tuple[int, ...] = (256, 512, 1024)  # samples, one discriminator each
    bands: int = 5
    width: int = 48  # channels per band
    learning_rate: float = 3e-4
    reconstruction: float = 1.0  # shares of the decoder's gradient, see balancer.py
    adversarial: float = 0.3
    feature: float = 0.7
    alone_steps: int = 500  # at first, only the discriminators learn
    ramp_steps: int = 1000  # then, the adversarial shares grow


@dataclass(frozen=True, slots=True)
class Recipe(Strict):
    """A codec and how to train it; see recipes/*.toml."""

    codec: CodecConfig
    data: DataRecipe = field(default_factory=DataRecipe)
    losses: LossRecipe = field(default_factory=LossRecipe)
    adversary: AdversaryRecipe | None = None
    frozen_tokens: bool = False  # train only the decoder; encoder and codebooks stay as they are
    average_decay: float = 0.0  # of the moving average of the weights that is validated and exported; 0: no average
    seed: int = 0
    steps: int = 20_000
    warmup_steps: int = 200
    decay_steps: int = 5_000  # at the end, linearly to zero
    learning_rate: float = 1e-3  # of AdamW
    muon_learning_rate: float = 0.0  # of Muon, which then trains the matrices inside blocks; 0: AdamW does
    betas: tuple[float, ...] = (0.8, 0.99)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    codebook_decay: float = 0.99
    kmeans_seconds: float = 480.0  # of audio for the k-means start of the codebooks
    metric_steps: tuple[int, ...] = ()  # at which latents get the basis of the loss, and codebooks restart (metric.py)
    full_rate_probability: float = 0.5  # of using all codebooks; otherwise one of `dropout_codebooks`
    dropout_codebooks: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12)
    taps_learning_rate: float = 2e-5  # of the taps that predict levels (split codecs)
    free_order: bool = False  # draw the numbers of level and shape codebooks independently (split codecs)
    lost_share: float = 0.0  # share of items that lose a run of frames (split codecs)
    bfloat16_blocks: bool = True  # only in blocks, and only if the CPU supports it
    validate_every: int = 1000  # steps
    validated_codebooks: tuple[int, ...] = (2, 4, 8)  # in addition to all
    checkpoint_every: int = 500  # steps
    export_every: int = 0  # between kept model folders; 0: none are kept


R = TypeVar("R", bound=Strict)


def read_recipe(path: Path, kind: type[R] = Recipe) -> R:  # type: ignore[assignment]
    """Read a recipe file of a `kind`; raises ConfigError that names the file and the fault."""
    try:
        return kind.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def find_recipe(name: str, folder: Path = RECIPES) -> Path:
    """Return the file of a recipe, given the name of one bundled in `folder` or a path; raises ConfigError for neither."""
    bundled = folder / f"{name}.toml"
    path = bundled if bundled.exists() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in bundled.parent.glob("*.toml")))
        raise ConfigError(f"{name}: no such recipe (bundled: {known})")
    return path
