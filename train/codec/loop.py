"""The training loop of a codec, to be read from top to bottom. The work of one step is in step.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...codec.model import Codec
from ...format.errors import ArgumentError
from ..data.pack import find_or_derive_pack
from ..data.packed_audio import PackedAudio, validation_clips
from ..engine import parallel
from ..engine.metrics import log_row, mean_row
from ..engine.plots import draw_curves
from ..engine.steps import take_steps
from .checkpoints import export_model, load_checkpoint, save_checkpoint
from .codebooks import perplexity
from .cuda_graph import move_to
from .examples import write_examples
from .gpu_trainer import GpuTrainer, device_of, host_copy
from .latent_basis import change_latent_basis
from .losses import reconstruction_losses, si_sdr, tile_loss
from .recipe import Recipe
from .split_step import decimated
from .state import Run, start_from
from .step import draw_audio, row_samples, start_codebooks, train_step

LOG_EVERY = 100  # steps
METRIC_BATCHES, METRIC_DRAWS = 12, 1 << 30  # how many batches, and the step they are drawn at, which no run reaches


def train(
    recipe: Recipe,
    data_folder: Path,
    output: Path,
    max_seconds: float = math.inf,
    report: Callable[[str], object] = print,
    init: Codec | None = None,
    device: str = "cpu",
) -> Run:
    """Train `recipe` on packed audio into `output`, continuing from its last checkpoint if there is one.

    Without a checkpoint the run starts from the weights of `init`, or from random ones; a recipe
    with frozen tokens needs `init`. Stops at the recipe's last step, after `max_seconds`, or at
    the first SIGINT/SIGTERM, always with a checkpoint. `metrics.jsonl` gets one row per hundred
    steps; `curves.png` and `examples/` are updated at each validation. Under torchrun the batch is
    divided among the processes; the first one writes and reports. On another `device` the audio must fit into its memory
    (0.35 GB per hour at 48 kHz). A checkpoint can be continued on any device.
    """
    place = device_of(device, recipe)
    parallel.start()
    say = report if parallel.rank() == 0 else lambda line: None
    data_folder = find_or_derive_pack(data_folder, recipe.codec.sample_rate, say)
    data = PackedAudio.open(data_folder, "train", row_samples(recipe))
    clips = validation_clips(data_folder, seconds=4.0, per_group=6)
    run = begin_or_resume(recipe, output, init, place, say)

    def look(window: list[dict[str, float]], ends: bool) -> None:
        log_and_save(run, output, window, clips, report, ends)

    trainer: Any = CpuTrainer(run, data) if place.type == "cpu" else GpuTrainer(run, data, place)
    take_steps(run, trainer.draw, trainer.take, look, max_seconds)
    return run


def begin_or_resume(recipe: Recipe, output: Path, init: Codec | None, place: torch.device, say: Callable[[str], object]) -> Run:
    """Return the run in `output` from its checkpoint, or a new one."""
    run = Run.new(recipe)
    move_to(run, place)
    output.mkdir(parents=True, exist_ok=True)
    if load_checkpoint(run, output):
        say(f"resumed at step {run.step}")
    elif init is not None:
        start_from(run, init)
        say(f"started at the weights of {init.config.name}")
    elif recipe.frozen_tokens:
        raise ArgumentError(
            "this recipe trains only the decoder of a model, whose tokens stay as they are; name that model with --init"
        )
    return run


class CpuTrainer:
    """Runs training steps on the CPU. `take_steps` calls `draw` and `take`."""

    def __init__(self, run: Run, data: PackedAudio) -> None:
        self.run, self.data = run, data
        if not run.codebooks.started:
            start_codebooks(run, data)
        run.codec.train()

    def draw(self, step: int) -> Tensor:
        """Return the batch of a step."""
        return draw_audio(self.run.recipe, self.data, step)

    def take(self, batch: Tensor) -> dict[str, float]:
        """Run one step; return its losses by name."""
        if self.run.step in self.run.recipe.metric_steps:
            change_latent_basis(self.run, (self.draw(METRIC_DRAWS + i) for i in range(METRIC_BATCHES)))
            start_codebooks(self.run, self.data)
        return train_step(self.run, batch)


def log_and_save(
    run: Run, output: Path, window: list[dict[str, float]], clips: dict[str, Tensor], report: Any, ends: bool
) -> None:
    """After a step: save, log and validate if it is time. `window` is emptied when logged.

    Saving comes first: whoever stops a run may not wait for its validation.
    """
    recipe, ends = run.recipe, ends or run.step == run.recipe.steps
    if run.step % recipe.checkpoint_every == 0 or ends:
        save_checkpoint(run, output)
    if run.step % LOG_EVERY == 0 or ends:
        row: dict[str, Any] = {"step": run.step, "seconds": round(run.seconds), **mean_row(window)}
        window.clear()
        validates = run.step % recipe.validate_every == 0 or ends
        if validates:
            with run.averaged() as averaged:
                codec = host_copy(averaged)
                row["valid"] = validate(recipe, codec, clips, validated_counts(recipe))
                write_examples(codec, clips, output / "examples")
            run.codec.train()
        log_row(output, row)
        report(summary_line(row, recipe))
        if validates:
            draw_curves(output)
    if recipe.export_every and run.step % recipe.export_every == 0:
        export_model(run, output / f"model-{run.step:06d}")


@torch.no_grad()
def validate(recipe: Recipe, codec: Codec, clips: dict[str, Tensor], counts: tuple[int, ...]) -> dict[str, Any]:
    """Return losses, SI-SDR (dB) and codebook perplexity on the fixed clips, per number of codebooks."""
    codec.eval()
    rows: dict[str, Any] = {}
    rate = codec.config.core_rate
    all_codes = []
    for group, audio in clips.items():
        codes = codec.encode(audio)
        target = decimated(audio, codec.sample_rate // rate)
        all_codes.append(codes.transpose(0, 1).flatten(1)[None])
        for k in counts:
            estimate = decimated(codec.decode(codes[:, :k], audio.shape[-1]), codec.sample_rate // rate)
            losses = reconstruction_losses(estimate, target, rate, recipe.losses.windows, ())
            rows[f"{group}/{k}"] = {
                "mel": round(float(losses["mel_log"] + losses["mel_linear"]), 4),
                "si_sdr": round(float(si_sdr(estimate, target).mean()), 3),
                "tile": round(float(tile_loss(estimate, target, rate)), 3) if rate == 24_000 else 0.0,
            }
    used = perplexity(torch.cat(all_codes, dim=2), codec.config.codebook_size)
    rows["perplexity"] = [round(float(x)) for x in used]
    for k in counts:
        for name in ("mel", "si_sdr", "tile"):
            rows[f"mean/{k}/{name}"] = round(sum(rows[f"{g}/{k}"][name] for g in clips) / len(clips), 4)
    codec.train()
    return rows


def validated_counts(recipe: Recipe) -> tuple[int, ...]:
    """Return the numbers of codebooks that are validated."""
    return (*(k for k in recipe.validated_codebooks if k < recipe.codec.n_codebooks), recipe.codec.n_codebooks)


def summary_line(row: dict[str, Any], recipe: Recipe) -> str:
    """Return one line for the user: step, seconds of audio per second, losses, validation mel / SI-SDR per K."""
    speed = row["step"] * recipe.data.batch_size * recipe.data.seconds / max(row["seconds"], 1)
    text = f"step {row['step']:6d}  {speed:5.1f}x  total {row['total']:.4f}  mel {row['mel_log'] + row['mel_linear']:.4f}"
    if "discriminators" in row:
        text += (
            f"  adversarial {row['adversarial']:.3f}  feature {row['feature']:.3f}  discriminators {row['discriminators']:.3f}"
        )
    if "valid" in row:
        text += "  valid " + "  ".join(
            f"{k}: {row['valid'][f'mean/{k}/mel']:.3f}/{row['valid'][f'mean/{k}/si_sdr']:.1f}" for k in validated_counts(recipe)
        )
    return text
