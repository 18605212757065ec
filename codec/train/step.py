"""One step of training: draw, code, compare, update."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import parallel
from .data import PackedAudio, augment, generator_for
from .losses import reconstruction_losses
from .recipe import Recipe
from .run import Run

REVIVAL, DROPOUT, DATA, KMEANS = range(4)  # independent random streams of a step


def schedule(recipe: Recipe, step: int) -> float:
    """The share of the learning rates at a step: warm up, stay, fall linearly to zero; a run may be prolonged before that."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    left = (recipe.steps - step) / recipe.decay_steps if recipe.decay_steps else 1.0
    return warm * min(1.0, max(0.0, left))


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
    return augment(audio, recipe.data, generator)


def start_codebooks(run: Run, data: PackedAudio) -> None:
    """k-means on latents of the untrained encoder: its linear path already carries the signal."""
    recipe = run.recipe
    n_batches = max(1, round(recipe.kmeans_seconds / (recipe.data.seconds * recipe.data.batch_size)))
    with torch.no_grad():
        latents = [run.codec.encoder(draw_audio(recipe, data, -1 - i & 0x7FFFFFFF)) for i in range(n_batches)]
    vectors = torch.cat([z.transpose(1, 2).flatten(0, 1) for z in latents])
    run.codebooks.start(vectors, generator_for(recipe.seed, 0, KMEANS))


def train_step(run: Run, batch: Tensor) -> dict[str, float]:
    """One update on the global batch [B, 1, N]; returns this process's losses by name, means over micro batches."""
    recipe = run.recipe
    n_codebooks = draw_codebooks(recipe, generator_for(recipe.seed, run.step, DROPOUT))
    own, own_codebooks = parallel.own_rows(batch), parallel.own_rows(n_codebooks)
    n_parts = recipe.data.micro_batches
    if len(own) % n_parts:
        raise ValueError(f"{len(own)} rows of a batch do not share out over {n_parts} micro batches")
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    rows: list[dict[str, float]] = []
    latents, codes = [], []
    for audio, k in zip(own.chunk(n_parts), own_codebooks.chunk(n_parts), strict=True):
        losses, z, index = backward(run, audio, k, 1 / n_parts)
        rows.append({name: value.item() for name, value in losses.items()})
        latents.append(z)
        codes.append(index)
    norm = update_networks(run)
    if not recipe.frozen_tokens:
        gathered = parallel.gather_rows(torch.cat(latents)), n_codebooks, parallel.gather_rows(torch.cat(codes))
        run.codebooks.learn(*gathered, generator_for(recipe.seed, run.step, REVIVAL))
    run.step += 1
    return {name: sum(row[name] for row in rows) / n_parts for name in rows[0]} | {"gradient_norm": norm}


def backward(run: Run, audio: Tensor, n_codebooks: Tensor, share: float) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Code a micro batch and add `share` of its gradients to the networks'.

    Shapes: audio [B, 1, N], n_codebooks [B] -> (losses by name, latents [B, D, T], codes [B, K, T]).
    """
    recipe, codec = run.recipe, run.codec
    with torch.set_grad_enabled(not recipe.frozen_tokens):
        latents = codec.encoder(audio)
        quantized, commitment, codes = run.codebooks(latents, n_codebooks)
    estimate = codec.decoder(quantized)[..., : audio.shape[-1]]
    spectral = recipe.losses.windows, recipe.losses.complex_windows, codec.config.hop_length
    losses = reconstruction_losses(estimate, audio, codec.sample_rate, *spectral)
    total = sum((getattr(recipe.losses, name) * value for name, value in losses.items()), torch.zeros(()))
    inner = torch.zeros(()) if recipe.frozen_tokens else recipe.losses.commitment * commitment
    if run.adversary is None:
        (share * (total + inner)).backward()
    else:
        losses |= run.adversary.losses(estimate, audio)
        gradient = output_gradient(run, losses | {"reconstruction": total}, estimate)
        torch.autograd.backward([estimate, *([inner] if inner.requires_grad else [])],
                                [share * gradient, *([torch.tensor(share)] if inner.requires_grad else [])])  # fmt: skip
        losses["discriminators"] = run.adversary.learn(estimate, audio)
    return losses | {"commitment": commitment.detach(), "total": (total + inner).detach()}, latents.detach(), codes


def output_gradient(run: Run, losses: dict[str, Tensor], estimate: Tensor) -> Tensor:
    """The balanced gradient at the decoder's output [B, 1, N]."""
    assert run.adversary is not None
    recipe, weight = run.adversary.recipe, run.adversary.weight_at(run.step)
    weights = {
        "reconstruction": recipe.reconstruction,
        "adversarial": weight * recipe.adversarial,
        "feature": weight * recipe.feature,
    }
    return run.balancer.gradient(losses, weights, estimate)


def update_networks(run: Run) -> float:
    """Average, clip and apply the gradients; returns their norm before clipping."""
    parameters = run.parameters()
    parallel.average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, run.recipe.clip_norm).item()
    if not math.isfinite(norm):
        raise FloatingPointError(f"step {run.step}: the gradient is not finite")
    run.set_rate(schedule(run.recipe, run.step))
    for optimizer in run.optimizers:
        optimizer.step()
    run.update_average()
    return norm
