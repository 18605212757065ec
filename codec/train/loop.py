"""The training loop of a codec: one file that reads from top to bottom."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model import Codec
from ..modules.convnext import CausalStack
from . import parallel
from .codebooks import CodebookTrainer, perplexity
from .data import PackedAudio, augment, generator_for, validation_clips
from .losses import reconstruction_losses, si_sdr
from .recipe import Recipe
from .store import load_checkpoint, save_checkpoint

LOG_EVERY = 100  # steps
REVIVAL, DROPOUT, DATA, KMEANS = range(4)  # independent random streams of a step


@dataclass
class Run:
    """Everything that a checkpoint holds and a step changes."""

    recipe: Recipe
    codec: Codec
    codebooks: CodebookTrainer
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0  # spent in steps, over all resumptions
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def new(cls, recipe: Recipe) -> Run:
        """An untrained run; weights depend on the recipe's seed alone."""
        torch.manual_seed(recipe.seed)
        codec = Codec(recipe.codec)
        for module in codec.modules():
            if isinstance(module, CausalStack):
                module.bfloat16_blocks = recipe.bfloat16_blocks
        parameters = [*codec.encoder.parameters(), *codec.decoder.parameters()]
        optimizer = torch.optim.AdamW(
            parameters,
            lr=recipe.learning_rate,
            betas=(recipe.betas[0], recipe.betas[1]),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        return cls(recipe, codec, CodebookTrainer(codec.quantizer, recipe.codebook_decay), optimizer)


def start_from(run: Run, model: Codec) -> None:
    """Begin at the weights of `model`; raises ValueError where its networks differ from the recipe's."""
    if model.config.to_dict() | {"name": ""} != run.recipe.codec.to_dict() | {"name": ""}:
        raise ValueError(f"{model.config.name} is not the codec that the recipe describes")
    run.codec.load_state_dict(model.state_dict())  # copied into float32
    run.codebooks.continue_from_quantizer()


def learning_rate_at(recipe: Recipe, step: int) -> float:
    """Warm up, stay, then fall linearly to zero: a run may be prolonged before it decays."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    left = (recipe.steps - step) / recipe.decay_steps if recipe.decay_steps else 1.0
    return recipe.learning_rate * warm * min(1.0, max(0.0, left))


def draw_codebooks(recipe: Recipe, generator: torch.Generator) -> Tensor:
    """How many codebooks each row of a batch uses: quantizer dropout, int64 [B]."""
    batch_size = recipe.data.batch_size
    options = torch.tensor(recipe.dropout_codebooks)
    some = options[torch.randint(len(options), (batch_size,), generator=generator)]
    full = torch.rand(batch_size, generator=generator) < recipe.full_rate_probability
    return torch.where(full, torch.tensor(recipe.codec.n_codebooks), some)


def draw_audio(recipe: Recipe, data: PackedAudio, step: int) -> Tensor:
    """The batch [B, 1, N] of a step."""
    generator = generator_for(recipe.seed, step, DATA)
    n_samples = round(recipe.data.seconds * recipe.codec.sample_rate)
    audio = data.batch(recipe.data.weights, (recipe.data.batch_size, n_samples), generator)
    low, high = recipe.data.gain_db
    return augment(audio, (low, high), recipe.data.mix_probability, generator)


def start_codebooks(run: Run, data: PackedAudio) -> None:
    """k-means on latents of the untrained encoder: its linear path already carries the signal."""
    recipe = run.recipe
    n_batches = max(1, round(recipe.kmeans_seconds / (recipe.data.seconds * recipe.data.batch_size)))
    with torch.no_grad():
        latents = [run.codec.encoder(draw_audio(recipe, data, -1 - i & 0x7FFFFFFF)) for i in range(n_batches)]
    vectors = torch.cat([z.transpose(1, 2).flatten(0, 1) for z in latents])
    run.codebooks.start(vectors, generator_for(recipe.seed, 0, KMEANS))


def train_step(run: Run, batch: Tensor) -> dict[str, float]:
    """One update on the global batch [B, 1, N]; returns this process's losses by name."""
    recipe, codec = run.recipe, run.codec
    n_codebooks = draw_codebooks(recipe, generator_for(recipe.seed, run.step, DROPOUT))
    audio = parallel.own_rows(batch)
    latents = codec.encoder(audio)
    quantized, commitment, codes = run.codebooks(latents, parallel.own_rows(n_codebooks))
    estimate = codec.decoder(quantized)[..., : audio.shape[-1]]
    losses = reconstruction_losses(estimate, audio, codec.sample_rate, recipe.losses.windows, recipe.losses.complex_windows)
    losses["commitment"] = commitment
    losses["total"] = sum(getattr(recipe.losses, name) * value for name, value in losses.items())
    run.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    losses["gradient_norm"] = update_networks(run)
    gathered = parallel.gather_rows(latents.detach()), n_codebooks, parallel.gather_rows(codes)
    run.codebooks.learn(*gathered, generator_for(recipe.seed, run.step, REVIVAL))
    run.step += 1
    return {name: value.item() for name, value in losses.items()}


def update_networks(run: Run) -> Tensor:
    """Average, clip and apply the gradients; returns their norm before clipping."""
    parameters = run.optimizer.param_groups[0]["params"]
    parallel.average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, run.recipe.clip_norm)
    if not math.isfinite(norm.item()):
        raise FloatingPointError(f"step {run.step}: the gradient is not finite")
    run.optimizer.param_groups[0]["lr"] = learning_rate_at(run.recipe, run.step)
    run.optimizer.step()
    return norm


@torch.no_grad()
def validate(run: Run, clips: dict[str, Tensor], counts: tuple[int, ...]) -> dict[str, Any]:
    """Losses, SI-SDR (dB) and codebook perplexity on the fixed clips, per number of codebooks."""
    recipe, codec = run.recipe, run.codec
    codec.eval()
    rows: dict[str, Any] = {}
    all_codes = []
    for group, audio in clips.items():
        latents = codec.encoder(audio)
        codes = codec.quantizer.encode(latents)
        all_codes.append(codes.transpose(0, 1).flatten(1)[None])
        for k in counts:
            estimate = codec.decoder(codec.quantizer.decode(codes[:, :k]))[..., : audio.shape[-1]]
            losses = reconstruction_losses(estimate, audio, codec.sample_rate, recipe.losses.windows, ())
            rows[f"{group}/{k}"] = {
                "mel": round(float(losses["mel_log"] + losses["mel_linear"]), 4),
                "si_sdr": round(float(si_sdr(estimate, audio).mean()), 3),
            }
    used = perplexity(torch.cat(all_codes, dim=2), codec.config.codebook_size)
    rows["perplexity"] = [round(float(x)) for x in used]
    for k in counts:
        for name in ("mel", "si_sdr"):
            rows[f"mean/{k}/{name}"] = round(sum(rows[f"{g}/{k}"][name] for g in clips) / len(clips), 4)
    codec.train()
    return rows


def train(
    recipe: Recipe,
    data_folder: Path,
    output: Path,
    max_seconds: float = math.inf,
    report: Callable[[str], object] = print,
    init: Codec | None = None,
) -> Run:
    """Train `recipe` on packed audio into `output`, from its last checkpoint where there is one.

    Without a checkpoint the run starts at the weights of `init`, or at random ones.

    Stops at the recipe's last step, after `max_seconds`, or at the first SIGINT/SIGTERM,
    always with a checkpoint. `metrics.jsonl` grows by one row per hundred steps. Under
    torchrun the batch is divided among the processes; the first one writes and reports.
    """
    parallel.start()
    say = report if parallel.rank() == 0 else lambda line: None
    data = PackedAudio.open(data_folder, "train", round(recipe.data.seconds * recipe.codec.sample_rate))
    clips = validation_clips(data_folder, seconds=4.0, per_group=6)
    run = Run.new(recipe)
    output.mkdir(parents=True, exist_ok=True)
    if load_checkpoint(run, output):
        say(f"resumed at step {run.step}")
    elif init is not None:
        start_from(run, init)
        say(f"started at the weights of {init.config.name}")
    if not run.codebooks.started:
        start_codebooks(run, data)
    run.codec.train()
    stop, began, window = StopRequest(), time.monotonic(), []
    batches = Prefetch(lambda step: draw_audio(recipe, data, step))
    while run.step < recipe.steps:
        tick = time.monotonic()
        window.append(train_step(run, batches(run.step)))
        run.seconds += time.monotonic() - tick
        ends = parallel.any_process(stop.requested or time.monotonic() - began > max_seconds)
        if parallel.rank() == 0:
            observe(run, output, window, clips, report, ends)
        if ends:
            break
    stop.restore()
    parallel.stop()
    return run


def observe(run: Run, output: Path, window: list[dict[str, float]], clips: dict[str, Tensor], report: Any, ends: bool) -> None:
    """After a step: log, validate and save when it is time. `window` is emptied when logged."""
    recipe, ends = run.recipe, ends or run.step == run.recipe.steps
    if run.step % LOG_EVERY == 0 or ends:
        means = {name: round(sum(row[name] for row in window) / len(window), 5) for name in window[0]}
        row: dict[str, Any] = {"step": run.step, "seconds": round(run.seconds), **means}
        window.clear()
        if run.step % recipe.validate_every == 0 or ends:
            row["valid"] = validate(run, clips, validated_counts(recipe))
        log(output, row)
        report(summary(row, recipe))
    if run.step % recipe.checkpoint_every == 0 or ends:
        save_checkpoint(run, output)


def validated_counts(recipe: Recipe) -> tuple[int, ...]:
    """The numbers of codebooks that validation looks at."""
    return (*(k for k in (2, 4, 8) if k < recipe.codec.n_codebooks), recipe.codec.n_codebooks)


class Prefetch:
    """Calls `draw(step)` one step ahead in a thread: reading from disk must not stall a step."""

    def __init__(self, draw: Callable[[int], Tensor]) -> None:
        self._draw, self._pool = draw, ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Tensor]] | None = None

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`; the batch after it is begun."""
        ready = self._next[1].result() if self._next and self._next[0] == step else self._draw(step)
        self._next = step + 1, self._pool.submit(self._draw, step + 1)
        return ready


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request to stop after the current step."""

    def __init__(self) -> None:
        self.requested = False
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def restore(self) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def log(output: Path, row: dict[str, Any]) -> None:
    """Append one row to metrics.jsonl."""
    with open(output / "metrics.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def summary(row: dict[str, Any], recipe: Recipe) -> str:
    """One line for people: step, seconds of audio per second, losses, validation mel / SI-SDR per K."""
    speed = row["step"] * recipe.data.batch_size * recipe.data.seconds / max(row["seconds"], 1)
    text = f"step {row['step']:6d}  {speed:5.1f}x  total {row['total']:.4f}  mel {row['mel_log'] + row['mel_linear']:.4f}"
    if "valid" in row:
        text += "  valid " + "  ".join(
            f"{k}: {row['valid'][f'mean/{k}/mel']:.3f}/{row['valid'][f'mean/{k}/si_sdr']:.1f}" for k in validated_counts(recipe)
        )
    return text
