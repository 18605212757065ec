"""The settings of a codec's training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...codec.config import CodecConfig, ConfigError, Strict, check_bounds
from ..data.recipe import DataRecipe

MOST = 1e6  # of a weight or a learning rate
STEPS = 0, 1 << 40
LOSS_BOUNDS = {
    **dict.fromkeys(("mel_log", "mel_linear", "complex", "wave", "pulse", "commitment", "tile"), (0, MOST)),
    **dict.fromkeys(("level_code", "loudness", "attack", "recode", "waveform_hz"), (0, MOST)),
    "windows_per_step": (0, 64), "windows": (16, 1 << 20), "complex_windows": (16, 1 << 20),
}  # fmt: skip
ADVERSARY_BOUNDS = {
    "windows": (16, 1 << 20), "bands": (1, 64), "width": (1, 1 << 16), "learning_rate": (0, MOST),
    "reconstruction": (0, MOST), "adversarial": (0, MOST), "feature": (0, MOST), "alone_steps": STEPS, "ramp_steps": STEPS,
}  # fmt: skip
BOUNDS = {
    "average_decay": (0, 1), "seed": (0, 1 << 62), "steps": STEPS, "warmup_steps": STEPS, "decay_steps": STEPS,
    "learning_rate": (0, MOST), "muon_learning_rate": (0, MOST), "taps_learning_rate": (0, MOST), "weight_decay": (0, MOST),
    "betas": (0, 1 - 1e-9), "clip_norm": (1e-9, 1e9), "codebook_decay": (0, 1), "kmeans_seconds": (0, 1e6),
    "full_rate_probability": (0, 1), "lost_share": (0, 1), "dropout_codebooks": (1, 1 << 10),
    "validate_every": (1, 1 << 40), "checkpoint_every": (1, 1 << 40), "export_every": STEPS,
}  # fmt: skip


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
    attack: float = 0.0  # sound before attacks that the target does not have, in units of 10 dB, squared
    recode: float = 0.0  # error of coding decoded audio again, relative to that of the first coding (split codecs)
    windows_per_step: int = 0  # number of `windows` drawn for each step; 0: all
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    complex_windows: tuple[int, ...] = (256, 1024)
    waveform_hz: float = 0.0  # `complex` and `wave` only count below this frequency; 0: everywhere

    def __post_init__(self) -> None:
        check_bounds(self, LOSS_BOUNDS)


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

    def __post_init__(self) -> None:
        check_bounds(self, ADVERSARY_BOUNDS)


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

    def __post_init__(self) -> None:
        check_bounds(self, BOUNDS)
        if len(self.betas) != 2:
            raise ConfigError(f"Recipe.betas: must be two numbers, got {self.betas}")
        for name, least in (("validated_codebooks", 1), ("metric_steps", 0)):
            numbers: tuple[int, ...] = getattr(self, name)
            if any(number < least for number in numbers):  # unlike those above, there may be none
                raise ConfigError(f"Recipe.{name}: must be {least} or more, got {numbers}")
        longest = max(*self.losses.windows, *self.losses.complex_windows, *(self.adversary.windows if self.adversary else ()))
        n_samples = int(self.data.seconds * self.codec.core_rate)
        if n_samples < longest:
            text = f"must be {longest / self.codec.core_rate:.3f} or more for windows of {longest} samples"
            raise ConfigError(f"DataRecipe.seconds: {text}, got {self.data.seconds:g}")
