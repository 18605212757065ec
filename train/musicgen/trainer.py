"""`ecdc train musicgen`: train a small language model over the tokens of one of our codecs. Resumes exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ...codec.config import ConfigError, Strict, check_bounds
from ...plugins.musicgen.config import MusicGenConfig
from ...plugins.musicgen.lm import Conditions, MusicGenLM
from ...plugins.musicgen.text_encoder import TextEncoder
from ..engine import parallel
from ..engine.averaging import average_share, move_averages
from ..engine.checkpoints import load_module, save_module
from ..engine.metrics import log_row
from ..engine.optimizers import Optimizers
from ..engine.plots import draw_curves
from ..engine.schedule import rate_share
from ..engine.steps import take_steps
from .head_losses import HeadLosses
from .token_windows import Batch, Caption, Pieces, WindowRecipe

LOG_EVERY = 50  # steps
EXAMPLES, AT_ONCE = 48, 4  # validated windows, and batch size of validation
STEPS = 0, 1 << 40
BOUNDS = {
    "seed": (0, 1 << 62), "steps": STEPS, "warmup_steps": STEPS, "decay_steps": STEPS, "learning_rate": (0, 1e6),
    "muon_learning_rate": (0, 1e6), "weight_decay": (0, 1e6), "betas": (0, 1 - 1e-9), "clip_norm": (1e-9, 1e9),
    "average_decay": (0, 1), "codebook_weights": (0, 1e6), "validate_every": (1, 1 << 40), "checkpoint_every": (1, 1 << 40),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MusicGenRecipe(Strict):
    """The settings of a run: a TOML file, read strictly."""

    model: MusicGenConfig
    data: WindowRecipe = field(default_factory=WindowRecipe)
    beginnings: WindowRecipe | None = None  # for every second step: in long windows the past already shows what a text asks for
    codebook_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # weights of the codebooks in the loss, coarse to fine
    seed: int = 1
    steps: int = 4000
    warmup_steps: int = 100
    decay_steps: int = 2000  # at the end, linearly to zero
    learning_rate: float = 2e-3  # of AdamW
    muon_learning_rate: float = 0.02  # of Muon, which trains the matrices inside layers; 0: AdamW does
    betas: tuple[float, ...] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average_decay: float = 0.0  # of the moving average of the weights that is validated and exported; 0: no average
    validate_every: int = 250  # steps
    checkpoint_every: int = 250  # steps

    def __post_init__(self) -> None:
        check_bounds(self, BOUNDS)
        c = self.model
        if len(self.betas) != 2:
            raise ConfigError(f"MusicGenRecipe.betas: must be two numbers, got {self.betas}")
        if not (c.mono and c.melody_fusion == "sum" and c.text_tokens and c.text_dimension):
            raise ConfigError("MusicGenRecipe.model: must be mono too, with text_tokens and melodies by sum")
        if self.beginnings is not None and self.beginnings.seconds > self.data.seconds:
            raise ConfigError(f"MusicGenRecipe.beginnings: at most {self.data.seconds:g} s, got {self.beginnings.seconds:g}")
        if len(self.codebook_weights) != c.n_codebooks // c.channels or min(self.codebook_weights) < 0:
            raise ConfigError(f"MusicGenRecipe.codebook_weights: one per codebook, 0 or more, got {self.codebook_weights}")


class MusicGenRun:
    """A language model in training."""

    def __init__(self, recipe: MusicGenRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step, self.seconds = recipe, 0, 0.0
        self.lm = initialize_weights(MusicGenLM(recipe.model))
        self.average = copy.deepcopy(self.lm).requires_grad_(False) if recipe.average_decay else None
        matrices, others = matrices_and_others(self.lm)
        rates, betas = (recipe.muon_learning_rate, recipe.learning_rate), (recipe.betas[0], recipe.betas[1])
        self.optimizer = Optimizers(matrices, others, rates, betas, recipe.weight_decay)

    @property
    def result(self) -> MusicGenLM:
        """The model that is validated and exported."""
        return self.lm if self.average is None else self.average

    def train_step(self, batch: Batch) -> list[float]:
        """Update once on the global batch; return this process's nats per code for each codebook."""
        recipe = self.recipe
        self.optimizer.zero_grad()
        loss, nats = losses(self.lm, batch.select(parallel.own_rows), recipe.codebook_weights)
        loss.backward()
        parameters = list(self.lm.parameters())
        parallel.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        self.optimizer.step(rate_share(self.step, recipe.steps, recipe.warmup_steps, recipe.decay_steps))
        if self.average is not None:
            move_averages(self.average.parameters(), self.lm.parameters(), average_share(recipe.average_decay, self.step))
        self.step += 1
        return [float(x) for x in nats]

    @torch.no_grad()
    def validate(self, examples: Batch) -> dict[str, float]:
        """Return the nats per code of each codebook, with all conditions and without any."""
        found: dict[str, float] = {}
        for name, batch in (("conditions", examples), ("alone", examples.without_conditions())):
            parts = [batch.rows(i, i + AT_ONCE) for i in range(0, len(batch.codes), AT_ONCE)]
            cells = [float((1.0 + part.is_stereo).sum()) for part in parts]
            nats = [losses(self.result, part, self.recipe.codebook_weights)[1] for part in parts]
            total = torch.stack([n * c for n, c in zip(nats, cells, strict=True)]).sum(dim=0) / sum(cells)
            found |= {f"{name}/codebook {k}/nats": round(float(x), 4) for k, x in enumerate(total, 1)}
        return found

    def save(self, folder: Path) -> None:
        """Write the state atomically: either the old or the new checkpoint is complete."""
        save_module(folder, self._networks, self, self._same)

    def load(self, folder: Path) -> bool:
        """Continue from a checkpoint; False if there is none. Raises ValueError for another model or optimizer."""
        return load_module(folder, self._networks, self, self._same)

    @property
    def _networks(self) -> nn.ModuleDict:
        return nn.ModuleDict({"lm": self.lm} | ({} if self.average is None else {"average": self.average}))

    @property
    def _same(self) -> dict[str, Any]:
        recipe = self.recipe
        kinds = {"average": bool(recipe.average_decay), "optimizer": "muon" if recipe.muon_learning_rate else "adamw"}
        return {"model": recipe.model.to_dict(), **kinds}


def matrices_and_others(lm: MusicGenLM) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the matrices inside layers, and all other parameters (tables, heads, norms)."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in lm.named_parameters():
        (matrices if name.startswith("layers.") and parameter.dim() == 2 else others).append(parameter)
    return matrices, others


def initialize_weights(lm: MusicGenLM) -> MusicGenLM:
    """Initialize weights: layers add nothing, all codes are equally likely, and conditions have little influence."""
    with torch.no_grad():
        lm.embedding.weight.normal_(std=0.5)
        for part, std in ((lm.text, 0.1), (lm.summary, 0.03), (lm.melody, 0.05), (lm.beat, 0.05)):
            if part is not None:
                part.weight.normal_(std=std)
        for name, parameter in lm.named_parameters():
            if name.endswith(("attention.out.weight", "down.weight", "heads.weight")):
                parameter.zero_()
    return lm


def losses(lm: MusicGenLM, batch: Batch, weights: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return the weighted mean of nats per code, and the nats of each codebook [K per channel], over both channels."""
    c = lm.config
    order = batch.is_stereo.logical_not().int().argsort(stable=True)
    batch = batch.select(lambda x: x[order])  # stereo first
    n_stereo, n_frames = int(batch.is_stereo.sum()), batch.codes.shape[2]
    hidden = _hidden(lm, batch, n_stereo)
    heads = lm.heads.weight.unflatten(0, (c.n_codebooks, -1))
    cells = (len(batch.codes) + n_stereo) * n_frames
    scales = [weight / sum(weights) / cells for weight in weights]
    total, nats = hidden.new_zeros(()), hidden.new_zeros(len(weights))
    for channel, n_rows in enumerate((len(batch.codes), n_stereo)):
        if n_rows:
            firsts = [c.text_tokens + delay for delay in c.delays[channel::2]]
            codes = batch.codes[:n_rows, channel::2]
            loss, sums = HeadLosses.apply(hidden[:n_rows], heads[channel::2].flatten(0, 1), codes, firsts, scales)
            total, nats = total + loss, nats + sums
    return total, nats / cells


def _hidden(lm: MusicGenLM, batch: Batch, n_stereo: int) -> Tensor:
    """Return outputs [B, P + S, D]; the first `n_stereo` items are stereo. All have equal length, so no mask is needed."""
    c = lm.config
    parts, heard = [], torch.where(batch.heard[:, None], batch.codes, c.special)
    for codes in (heard[:n_stereo], heard[n_stereo:, ::2]):
        if len(codes):
            columns = lm.pattern_of(codes.shape[1]).spread(codes)[:, :, :-1]  # the last column predicts nothing
            parts.append(lm.embed(columns, lm.books(codes.shape[1])))
    x = torch.cat(parts)
    added = lm.embed_classes(batch.melody)
    if lm.beat is not None:
        added = added + lm.embed_beats(batch.beats)
    x = x + nn.functional.pad(added, (0, 0, 0, x.shape[1] - added.shape[1]))
    if lm.summary is not None:
        x = x + lm.summary(batch.texts.sum(dim=1))[:, None]
    assert lm.text is not None
    is_text = torch.arange(c.text_tokens) < batch.text_lengths[:, None]
    x = torch.cat([lm.text(batch.texts) * is_text[..., None], x], dim=1)
    return lm.run(x, lm.begin(Conditions(), x.shape[1], 0), keep=False)


def train_musicgen(
    recipe: MusicGenRecipe, token_space: bytes, encoder: TextEncoder, caption: Caption, data_folder: Path, output: Path,
    max_seconds: float = math.inf, report: Callable[[str], object] = print,
) -> MusicGenRun:  # fmt: skip
    """Train a language model into `output`, continuing from its last checkpoint if there is one.

    `token_space` is that of the codec of the codes. Stops at the recipe's last step, after `max_seconds`, or at the first
    SIGINT/SIGTERM, always with a checkpoint. Under torchrun the batch is divided among the processes; the first one writes
    and reports.
    """
    recipe = replace(recipe, model=replace(recipe.model, token_space=token_space.hex()))
    n_frames = recipe.model.n_frames(recipe.data.seconds)
    train, valid = (Pieces.open(data_folder, split, recipe.model, encoder, caption, n_frames) for split in ("train", "valid"))
    parallel.start()
    run = MusicGenRun(recipe)
    examples = valid.examples(EXAMPLES, n_frames)
    output.mkdir(parents=True, exist_ok=True)
    say = report if parallel.rank() == 0 else lambda line: None
    if run.load(output):
        say(f"resumed at step {run.step}")

    def observe(window: list[list[float]], ends: bool) -> None:
        _observe(run, output, window, examples, say, ends)

    take_steps(run, lambda step: draw_batch(train, recipe, step), run.train_step, observe, max_seconds)
    return run


def draw_batch(pieces: Pieces, recipe: MusicGenRecipe, step: int) -> Batch:
    """Return the batch of a step."""
    return pieces.batch(settings_of_step(recipe, step), np.random.default_rng([recipe.seed, step]))


def settings_of_step(recipe: MusicGenRecipe, step: int) -> WindowRecipe:
    """Return the batch settings of a step."""
    return recipe.beginnings if recipe.beginnings is not None and step % 2 else recipe.data


def _observe(
    run: MusicGenRun, output: Path, window: list[list[float]], examples: Batch, say: Callable[[str], object], ends: bool
) -> None:
    """After a step: save, log and validate if it is time. Saving first, because whoever stops a run may not wait."""
    recipe, ends = run.recipe, ends or run.step == run.recipe.steps
    if run.step % recipe.checkpoint_every == 0 or ends:
        run.save(output)
    if run.step % LOG_EVERY == 0 or ends:
        last = (settings_of_step(recipe, step) for step in (run.step - 1, run.step))
        columns = sum(recipe.model.n_frames(data.seconds) * data.batch_size for data in last) * run.step / 2
        row: dict[str, Any] = {"step": run.step, "seconds": round(run.seconds)}
        row["columns_per_second"] = round(columns / max(run.seconds, 1e-9))
        for k, found in enumerate(zip(*window, strict=True), 1):
            row[f"codebook {k}"] = round(sum(found) / len(window), 4)
        window.clear()
        if run.step % recipe.validate_every == 0 or ends:
            row["valid"] = run.validate(examples)
        log_row(output, row)
        if "valid" in row:
            draw_curves(output, (("nats", "nats per code"),), ("conditions", "alone"))
        say("  ".join(f"{name} {value}" for name, value in row.items()))
