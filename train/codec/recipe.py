"""The settings of a codec's training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...codec.config import CodecConfig, Strict
from ..data.recipe import DataRecipe


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
    loudness: float = 0.0  # of ear bands, relative to that of the item; the worst moments count most
    recode: float = 0.0  # error of coding decoded audio again, relative to that of the first coding (split codecs)
    windows_per_step: int = 0  # number of `windows` drawn for each step; 0: all
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    complex_windows: tuple[int, ...] = (256, 1024)
    waveform_hz: float = 0.0  # `complex` and `wave` only count below this frequency; 0: everywhere


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
    """A codec and how to train it; see train/recipes/*.toml."""

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
    metric_steps: tuple[int, ...] = ()  # at which latents get the basis of the loss, and codebooks restart (latent_basis.py)
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
