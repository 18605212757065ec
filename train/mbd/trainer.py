"""`ecdc train mbd`: train the flows of a multi-band diffusion decoder for a codec with frozen tokens. Resumes exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ...codec.config import ConfigError, Strict, check_bounds
from ...codec.diffusion.flow import FlowConfig, FlowDecoder, MultiBandFlow
from ...codec.model import Codec
from ...codec.modules.convnext import CausalStack
from ...format.errors import ArgumentError
from ..codec.ear_losses import EAR_LOSSES
from ..codec.losses import level_loss, reconstruction_losses, si_sdr
from ..codec.step import decoder_state
from ..data.pack import find_or_derive_pack
from ..data.packed_audio import PackedAudio, augment, generator_for, validation_clips
from ..data.recipe import DataRecipe
from ..engine import parallel
from ..engine.averaging import average_share, move_averages
from ..engine.checkpoints import load_module, save_module
from ..engine.hardware import has_bfloat16
from ..engine.metrics import log_row, mean_row
from ..engine.optimizers import Optimizers
from ..engine.plots import draw_curves
from ..engine.schedule import rate_share
from ..engine.steps import take_steps

LOG_EVERY = 100  # steps
LOSSES = {"mel_log": 1.0, "mel_linear": 1.0, "pulse": 3.0, "level": 1.0, "flow": 0.02}  # weights
PANELS = ("mel_log", "mel loss"), ("level", "level loss"), ("si_sdr", "SI-SDR (dB)")
LARGEST = 64.0  # largest squared error relative to the level; rare larger ones are clipped
DATA, FLOW = range(2)  # independent random streams of a step
MOST = 1e6  # of a weight or a learning rate
STEPS = 0, 1 << 40
BOUNDS = {
    "seed": (0, 1 << 62), "steps": STEPS, "warmup_steps": STEPS, "decay_steps": STEPS, "learning_rate": (0, MOST),
    "muon_learning_rate": (0, MOST), "weight_decay": (0, MOST), "clip_norm": (1e-9, 1e9), "first_share": (0, 1 - 1e-9),
    "windows": (16, 1 << 20), "average_decay": (0, 1), "codebooks": (1, 255), "validate_every": (1, 1 << 40),
    "checkpoint_every": (1, 1 << 40),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MbdRecipe(Strict):
    """The settings of a run: a TOML file, read strictly."""

    flow: FlowConfig = field(default_factory=FlowConfig)
    data: DataRecipe = field(default_factory=DataRecipe)
    seed: int = 1
    steps: int = 20_000
    warmup_steps: int = 200
    decay_steps: int = 5_000  # at the end, linearly to zero
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02  # of matrices inside blocks; 0: AdamW trains them too
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    first_share: float = 0.5  # of items at the start of the flow; the others are anywhere along it
    losses: dict[str, float] = field(default_factory=lambda: dict(LOSSES))
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)  # samples, of the spectral losses
    bfloat16_blocks: bool = True  # if the CPU supports it
    average_decay: float = 0.998  # of the weights that are validated and exported
    codebooks: tuple[int, ...] = (1, 2, 2, 4, 4, 8, 16)  # K of each item is drawn from these
    validate_every: int = 1000  # steps
    checkpoint_every: int = 200  # steps

    def __post_init__(self) -> None:
        check_bounds(self, BOUNDS)
        known = {*LOSSES, *EAR_LOSSES, "wave"}
        for name, weight in self.losses.items():
            if name not in known:
                raise ConfigError(f"MbdRecipe.losses: unknown key {name!r} (known: {', '.join(sorted(known))})")
            if not 0 <= weight <= MOST:
                raise ConfigError(f"MbdRecipe.losses.{name}: must lie in [0, {MOST:g}], got {weight!r}")


class MbdRun:
    """Flows in training, with the codec whose decoder they start from."""

    def __init__(self, recipe: MbdRecipe, codec: Codec) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step, self.seconds, self.token_space = recipe, 0, 0.0, codec.token_space
        self.codec = Codec(codec.config)  # in float32 throughout: accurate enough, and faster
        self.codec.load_state_dict(codec.state_dict())
        self.codec.eval().requires_grad_(False)
        self.flow = MultiBandFlow(recipe.flow)
        for module in self.flow.modules():
            if isinstance(module, CausalStack):
                module.bfloat16_blocks = recipe.bfloat16_blocks and has_bfloat16()
        self.average = copy.deepcopy(self.flow).eval().requires_grad_(False)
        inside = {name: ".blocks." in name and p.dim() == 2 for name, p in self.flow.named_parameters()}
        matrices, others = ([p for name, p in self.flow.named_parameters() if inside[name] is i] for i in (True, False))
        rates = recipe.muon_learning_rate, recipe.learning_rate
        self.optimizer = Optimizers(matrices, others, rates, (0.9, 0.99), recipe.weight_decay)

    def start_from(self, flow: MultiBandFlow) -> None:
        """Start from the weights of a flow. Raises ValueError if it has another configuration than the recipe's."""
        if flow.config != self.recipe.flow:
            raise ArgumentError("the decoder to start from is not the one that the recipe describes; copy its [flow] table")
        for own in (self.flow, self.average):
            own.load_state_dict(flow.state_dict())

    def draw(self, data: PackedAudio, step: int) -> Tensor:
        """Return the batch [B, 1, N] of a step."""
        recipe, generator = self.recipe.data, generator_for(self.recipe.seed, step, DATA)
        n_samples = round(recipe.seconds * self.codec.sample_rate)
        return augment(data.batch(recipe.weights, (recipe.batch_size, n_samples), generator), recipe, generator)

    @torch.no_grad()
    def decoded(self, audio: Tensor, n_codebooks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Encode audio [B, 1, N] with K = n_codebooks [B]; return the convolutional decoder's audio and latents [B, D, T].

        `generator` decides the noise of that decoder, if it has any.
        """
        codes = self.codec.quantizer.encode(self.codec.encoder(audio))
        latents = audio.new_zeros(len(audio), self.recipe.flow.dimension, codes.shape[2])
        for k in n_codebooks.unique().tolist():
            rows = n_codebooks == k
            latents[rows] = self.codec.quantizer.decode(codes[rows, :k])
        state = decoder_state(self.codec, len(audio), generator)
        return self.codec.decoder(latents, state)[..., : audio.shape[-1]], latents

    def train_step(self, batch: Tensor) -> dict[str, float]:
        """Update once on the global batch [B, 1, N]; return this process's losses by name."""
        recipe, generator = self.recipe, generator_for(self.recipe.seed, self.step, FLOW)
        n_rows, options = len(batch), torch.tensor(recipe.codebooks)
        n_codebooks = options[torch.randint(len(options), (n_rows,), generator=generator)]
        # Stratified, so that every batch covers all parts of the flow.
        times = (torch.randperm(n_rows, generator=generator) + torch.rand(n_rows, generator=generator)) / n_rows
        times = (1 - (1 - times) / (1 - recipe.first_share)).clamp(min=0)
        n_frames = math.ceil(batch.shape[-1] / recipe.flow.hop_length)
        noise = torch.randn(n_rows, n_frames, recipe.flow.hop_length, generator=generator)
        audio, k, t, noise = (parallel.own_rows(x) for x in (batch, n_codebooks, times, noise))
        first, latents = self.decoded(audio, k, generator)
        start, target = self.flow.coefficients(first[:, 0]), self.flow.coefficients(audio[:, 0])
        self.flow.train()
        ends, levels = self.flow.decode_from(start, latents, t, noise)
        losses = self._losses(ends, audio)
        losses["flow"] = ((ends - target) / levels).square().clamp(max=LARGEST).mean()
        self.optimizer.zero_grad()
        torch.stack([recipe.losses.get(name, 0.0) * value for name, value in losses.items()]).sum().backward()
        self._update()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(self, ends: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Return the losses of the audio of coefficients [B, T, hop] against audio [B, 1, N]."""
        half = self.flow.block // 2
        found, _ = self.flow.synthesise(ends, ends.new_zeros(len(ends), self.flow.block))
        n_samples = min(audio.shape[-1], found.shape[1] - half)  # without the half block that still needs the next frame
        return self._compare(found[:, None, half : half + n_samples], audio[..., :n_samples])

    def _compare(self, estimate: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Return the losses between two signals [B, 1, N]."""
        rate, recipe = self.codec.sample_rate, self.recipe
        losses = reconstruction_losses(estimate, audio, rate, recipe.windows, (), recipe.flow.hop_length)
        losses["level"] = level_loss(estimate, audio, rate)
        for name, loss in EAR_LOSSES.items():
            if recipe.losses.get(name):
                losses[name] = loss(estimate, audio, rate)
        return losses

    def _update(self) -> None:
        recipe, parameters = self.recipe, list(self.flow.parameters())
        parallel.average_gradients(parameters)
        for band in self.flow.bands:  # separately, so that a large gradient in one band does not slow the others
            torch.nn.utils.clip_grad_norm_(band.parameters(), recipe.clip_norm)
        self.optimizer.step(rate_share(self.step, recipe.steps, recipe.warmup_steps, recipe.decay_steps))
        move_averages(self.average.parameters(), self.flow.parameters(), average_share(recipe.average_decay, self.step))
        self.step += 1

    @torch.no_grad()
    def validate(self, clips: dict[str, Tensor]) -> dict[str, Any]:
        """Return losses and SI-SDR (dB) of both decoders on fixed clips, for several K; averaged over groups."""
        conv: Any = self.codec.decoder
        decoder = FlowDecoder(conv, self.average)
        found: dict[str, list[float]] = {}
        for audio in clips.values():
            codes = self.codec.quantizer.encode(self.codec.encoder(audio))
            for k in validated_counts(self.codec.config.n_codebooks):
                latents = self.codec.quantizer.decode(codes[:, :k])
                for name, one in (("conv", conv), ("mbd", decoder)):
                    for key, value in self._measure(one(latents)[..., : audio.shape[-1]], audio).items():
                        found.setdefault(f"{name}/{k}/{key}", []).append(value)
        return {name: round(sum(values) / len(values), 4) for name, values in found.items()}

    def _measure(self, estimate: Tensor, audio: Tensor) -> dict[str, float]:
        losses = self._compare(estimate, audio)
        kept = {name: float(losses[name]) for name in ("mel_log", "mel_linear", "pulse", "level")}
        return kept | {"si_sdr": float(si_sdr(estimate, audio).mean())}

    @property
    def _networks(self) -> nn.ModuleDict:
        return nn.ModuleDict({"flow": self.flow, "average": self.average})

    def save(self, folder: Path) -> None:
        """Write the state atomically: either the old or the new checkpoint is complete."""
        save_module(folder, self._networks, self, self._same)

    def load(self, folder: Path) -> bool:
        """Continue from a checkpoint; False if there is none. Raises ValueError for another token space or flow."""
        return load_module(folder, self._networks, self, self._same)

    @property
    def _same(self) -> dict[str, Any]:
        return {"token_space": self.token_space.hex(), "flow": self.recipe.flow.to_dict()}


def validated_counts(n_codebooks: int) -> list[int]:
    """Return the numbers of codebooks that are validated: the low bitrates, which benefit most."""
    return sorted({max(1, n_codebooks // share) for share in (8, 4, 2)})


def train_mbd(
    recipe: MbdRecipe, codec: Codec, data_folder: Path, output: Path,
    max_seconds: float = math.inf, report: Callable[[str], object] = print, init: MultiBandFlow | None = None,
) -> MbdRun:  # fmt: skip
    """Train flows for `codec` into `output`, continuing from its last checkpoint if there is one.

    Without a checkpoint the run starts from the weights of `init`, or from a decoder that changes nothing. Stops at the
    recipe's last step, after `max_seconds`, or at the first SIGINT/SIGTERM, always with a checkpoint. Under torchrun the batch
    is divided among the processes; the first one writes and reports.
    """
    parallel.start()
    run = MbdRun(recipe, codec)
    data_folder = find_or_derive_pack(data_folder, codec.sample_rate, report)
    data = PackedAudio.open(data_folder, "train", round(recipe.data.seconds * codec.sample_rate))
    clips = validation_clips(data_folder, seconds=4.0, per_group=4)
    output.mkdir(parents=True, exist_ok=True)
    say = report if parallel.rank() == 0 else lambda line: None
    if run.load(output):
        say(f"resumed at step {run.step}")
    elif init is not None:
        run.start_from(init)

    def observe(window: list[dict[str, float]], ends: bool) -> None:
        _observe(run, output, window, clips, say, ends)

    take_steps(run, lambda step: run.draw(data, step), run.train_step, observe, max_seconds)
    return run


def _observe(
    run: MbdRun, output: Path, window: list[dict[str, float]], clips: dict[str, Tensor], say: Callable[[str], object],
    ends: bool,
) -> None:  # fmt: skip
    """After a step: save, log and validate if it is time. Saving first, because whoever stops a run may not wait."""
    recipe, ends = run.recipe, ends or run.step == run.recipe.steps
    if run.step % recipe.checkpoint_every == 0 or ends:
        run.save(output)
    if run.step % LOG_EVERY == 0 or ends:
        row: dict[str, Any] = {"step": run.step, "seconds": round(run.seconds), **mean_row(window)}
        window.clear()
        if run.step % recipe.validate_every == 0 or ends:
            row["valid"] = run.validate(clips)
        log_row(output, row)
        if "valid" in row:
            draw_curves(output, PANELS, ("conv", "mbd"))
        say("  ".join(f"{name} {value}" for name, value in row.items()))
