"""One training step: draw, encode and decode, compare, update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...codec.config import HybridConfig, SplitConfig
from ...codec.model import Codec
from ...codec.quantize.split import SplitVQ
from ...format.errors import ArgumentError, EcdcError
from ..data.packed_audio import PackedAudio, augment, generator_for
from ..engine import parallel
from ..engine.schedule import rate_share
from .ear_losses import EAR_LOSSES
from .losses import reconstruction_losses
from .recipe import Recipe
from .split_step import SplitCodebooks, draw_counts, draw_lost_frames, forward, level_losses
from .state import Run

REVIVAL, DROPOUT, DATA, KMEANS, WINDOWS, NOISE = range(6)  # independent random streams of a step


class Diverged(EcdcError, FloatingPointError):
    """The loss of a run has become infinite or NaN."""


def learning_rate_share(recipe: Recipe, step: int) -> float:
    """Return the factor of the learning rates at a step."""
    return rate_share(step, recipe.steps, recipe.warmup_steps, recipe.decay_steps)


def draw_codebooks(run: Run, generator: torch.Generator) -> Tensor:
    """Draw how many codebooks each item uses (quantizer dropout): int64 [B], or [B, 2] for a split codec."""
    recipe, batch_size = run.recipe, run.recipe.data.batch_size
    if isinstance(run.codec.quantizer, SplitVQ):
        return draw_counts(recipe, run.codec.quantizer, batch_size, generator)
    options = torch.tensor(recipe.dropout_codebooks)
    some = options[torch.randint(len(options), (batch_size,), generator=generator)]
    full = torch.rand(batch_size, generator=generator) < recipe.full_rate_probability
    return torch.where(full, torch.tensor(recipe.codec.n_codebooks), some)


def draw_audio(recipe: Recipe, data: PackedAudio, step: int) -> Tensor:
    """Return the batch [B, 1, N] of a step."""
    generator = generator_for(recipe.seed, step, DATA)
    audio = data.batch(recipe.data.weights, (recipe.data.batch_size, row_samples(recipe)), generator)
    return augment(audio, recipe.data, generator)


def row_samples(recipe: Recipe) -> int:
    """Return the samples per item. For a split codec: whole frames plus half a hop of context on each side."""
    n_samples, hop = round(recipe.data.seconds * recipe.codec.sample_rate), recipe.codec.hop_length
    return (n_samples // hop + 1) * hop if isinstance(recipe.codec.architecture, SplitConfig) else n_samples


def start_codebooks(run: Run, data: PackedAudio) -> None:
    """Run k-means on latents of the untrained encoder, whose linear path already carries the signal."""
    recipe = run.recipe
    n_batches = max(1, round(recipe.kmeans_seconds / (recipe.data.seconds * recipe.data.batch_size)))
    if isinstance(run.codebooks, SplitCodebooks):
        batches = (draw_audio(recipe, data, -1 - i & 0x7FFFFFFF) for i in range(n_batches))
        run.codebooks.start(run.codec, batches, generator_for(recipe.seed, 0, KMEANS))
        return
    with torch.no_grad():
        latents = [run.codec.encoder(draw_audio(recipe, data, -1 - i & 0x7FFFFFFF)) for i in range(n_batches)]
    vectors = torch.cat([z.transpose(1, 2).flatten(0, 1) for z in latents])
    run.codebooks.start(vectors, generator_for(recipe.seed, 0, KMEANS))


def train_step(run: Run, batch: Tensor) -> dict[str, float]:
    """Update once on the global batch [B, 1, N]; return this process's losses by name, averaged over micro batches."""
    recipe = run.recipe
    n_codebooks = draw_codebooks(run, generator_for(recipe.seed, run.step, DROPOUT))
    own, own_codebooks = parallel.own_rows(batch), parallel.own_rows(n_codebooks)
    n_parts = recipe.data.micro_batches
    if len(own) % n_parts:
        raise ArgumentError(f"{len(own)} items of a batch cannot be divided into {n_parts} micro batches")
    run.optimizers.zero_grad()
    rows: list[dict[str, float]] = []
    lessons: list[tuple[Tensor, ...]] = []
    for part, (audio, k) in enumerate(zip(own.chunk(n_parts), own_codebooks.chunk(n_parts), strict=True)):
        losses, lesson = backward(run, audio, k, part, 1 / n_parts)
        rows.append({name: value.item() for name, value in losses.items()})
        lessons.append(lesson)
    norm = update_networks(run)
    if not recipe.frozen_tokens:
        gathered = [parallel.gather_rows(torch.cat(parts)) for parts in zip(*lessons, strict=True)]
        run.codebooks.learn(generator_for(recipe.seed, run.step, REVIVAL), n_codebooks, *gathered)
    run.step += 1
    return {name: sum(row[name] for row in rows) / n_parts for name in rows[0]} | {"gradient_norm": norm}


@dataclass
class Coded:
    """A micro batch after the decoder."""

    estimate: Tensor  # [B, 1, N]
    target: Tensor  # [B, 1, N]
    inner: dict[str, Tensor]  # losses that do not depend on the estimate, by name
    lesson: tuple[Tensor, ...]  # what the codebooks learn from, batch item first
    recode: Tensor | None = None  # a loss of the estimate's second coding


def encode_and_decode(run: Run, audio: Tensor, n_codebooks: Tensor, generator: torch.Generator) -> Coded:
    """Encode, quantize and decode a micro batch [B, 1, N]."""
    codec = run.codec
    if isinstance(run.codebooks, SplitCodebooks):
        n_frames = audio.shape[-1] // codec.config.hop_length - 1
        lost = draw_lost_frames(len(audio), n_frames, run.recipe.lost_share, generator)
        found = forward(codec, run.codebooks, audio, n_codebooks, lost, generator, run.recipe.losses.recode > 0)
        inner = {"commitment": found.commitment, "level_code": level_losses(found.coded)}
        lesson = found.latents.detach(), found.shape_codes, found.coded.wanted, found.coded.codes
        return Coded(found.estimate, found.target, inner, lesson, found.recode)
    with torch.set_grad_enabled(not run.recipe.frozen_tokens):
        latents = codec.encoder(audio)
        quantized, commitment, codes = run.codebooks(latents, n_codebooks)
    estimate = codec.decoder(quantized, decoder_state(codec, len(audio), generator))[..., : audio.shape[-1]]
    return Coded(estimate, audio, {"commitment": commitment}, (latents.detach(), codes))


def decoder_state(codec: Codec, n_items: int, generator: torch.Generator) -> Any:
    """Return a first state with a random frame number for a decoder with noise, so that noise differs in each step; or None."""
    kind = codec.config.architecture
    if not (isinstance(kind, HybridConfig) and kind.random_sign_bin):
        return None
    decoder: Any = codec.decoder
    return decoder.initial_state(n_items, int(torch.randint(1 << 30, (), generator=generator)))


def step_windows(recipe: Recipe, generator: torch.Generator) -> tuple[int, ...]:
    """Draw the windows of the spectral losses for a step."""
    windows, n = recipe.losses.windows, recipe.losses.windows_per_step
    if not 0 < n < len(windows):
        return windows
    return tuple(windows[i] for i in torch.randperm(len(windows), generator=generator)[:n].sort().values.tolist())


def backward(
    run: Run, audio: Tensor, n_codebooks: Tensor, part: int, share: float
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Encode and decode micro batch number `part`, and add `share` of its gradients to the networks'.

    Shapes: audio [B, 1, N], n_codebooks [B] or [B, 2] -> (losses by name, what the codebooks learn from).
    """
    recipe = run.recipe
    generator = generator_for(recipe.seed, run.step, NOISE + part * parallel.world_size() + parallel.rank())
    coded = encode_and_decode(run, audio, n_codebooks, generator)
    weights, rate = recipe.losses, run.codec.config.core_rate
    windows = step_windows(recipe, generator_for(recipe.seed, run.step, WINDOWS))
    hop = run.codec.config.hop_length * rate // run.codec.sample_rate if weights.pulse else 0
    compared = windows, weights.complex_windows, hop, weights.waveform_hz
    losses = reconstruction_losses(coded.estimate, coded.target, rate, *compared)
    for name, loss in EAR_LOSSES.items():
        if getattr(weights, name):
            losses[name] = loss(coded.estimate, coded.target, rate)
    if coded.recode is not None:
        losses["recode"] = coded.recode
    total = sum((getattr(weights, name) * value for name, value in losses.items()), torch.zeros(()))
    inner = torch.zeros(())
    if not recipe.frozen_tokens:
        inner = sum((getattr(weights, name) * value for name, value in coded.inner.items()), inner)
    if run.adversary is None:
        (share * (total + inner)).backward()
    else:
        losses |= run.adversary.losses(coded.estimate, coded.target)
        gradient = output_gradient(run, losses | {"reconstruction": total}, coded.estimate)
        torch.autograd.backward([coded.estimate, *([inner] if inner.requires_grad else [])],
                                [share * gradient, *([torch.tensor(share)] if inner.requires_grad else [])])  # fmt: skip
        losses["discriminators"] = run.adversary.learn(coded.estimate, coded.target)
    found = losses | coded.inner | {"total": total + inner}
    return {name: value.detach() for name, value in found.items()}, coded.lesson


def output_gradient(run: Run, losses: dict[str, Tensor], estimate: Tensor) -> Tensor:
    """Return the balanced gradient at the decoder's output [B, 1, N]."""
    assert run.adversary is not None
    recipe, weight = run.adversary.recipe, run.adversary.weight_at(run.step)
    weights = {
        "reconstruction": recipe.reconstruction,
        "adversarial": weight * recipe.adversarial,
        "feature": weight * recipe.feature,
    }
    return run.balancer.gradient(losses, weights, estimate)


def update_networks(run: Run) -> float:
    """Average, clip and apply the gradients; return their norm before clipping."""
    parallel.average_gradients(run.optimizers.parameters())
    norm = torch.nn.utils.clip_grad_norm_(run.network_parameters(), run.recipe.clip_norm).item()
    if not math.isfinite(norm):
        raise Diverged(f"step {run.step}: the gradient is not finite; lower the learning rates, and continue from a checkpoint")
    run.optimizers.step(learning_rate_share(run.recipe, run.step))
    run.update_average()
    return norm
