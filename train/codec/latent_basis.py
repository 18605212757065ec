"""Change the basis of the latents so that quantization errors of equal size cause equal loss in every direction.

A residual quantizer minimizes the squared error of the latents, so the magnitude of a direction
decides how many bits it gets. The encoder does not learn this from the straight-through gradient,
which ignores the quantization error. So the sensitivity of the loss H = E[g g^T] is measured, with
g the gradients at the quantized latents, and the latents are moved into the basis H^(1/2). There
the squared error equals the loss to first order (the Gauss-Newton metric, if the signs of the
losses' absolute values are independent). The outer layers of the networks absorb the change, so
only the quantizer sees different latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ...codec.modules.linear_latents import LinearLatentDecoder, LinearLatentEncoder
from ...format.errors import ArgumentError
from .losses import reconstruction_losses
from .split_step import SplitCodebooks, coded_shape
from .state import Run, trained_parameters

RANGE = 100.0  # limit of the eigenvalues of H, largest over smallest; the basis stretches by at most its square root


def sensitivity(run: Run, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return H [D, D] of the recipe's losses at latents quantized with several numbers of codebooks, and E[z z^T] [D, D]."""
    recipe, codec = run.recipe, run.codec
    counts = (recipe.codec.n_codebooks, *recipe.dropout_codebooks[-2:])
    dimension = recipe.codec.dimension
    sums = next(codec.parameters()).new_zeros(dimension, dimension)
    energy, n_vectors = torch.zeros_like(sums), 0
    for i, audio in enumerate(batches):
        latents, quantized, decode = _coded(run, audio, counts[i % len(counts)])
        estimate, target = decode(quantized.requires_grad_())
        spectral = recipe.losses.windows, recipe.losses.complex_windows
        losses = reconstruction_losses(
            estimate, target, codec.config.core_rate, *spectral, waveform_hz=recipe.losses.waveform_hz
        )
        total = sum((getattr(recipe.losses, name) * value for name, value in losses.items()), estimate.new_zeros(()))
        (gradient,) = torch.autograd.grad(total * latents.shape[0] * latents.shape[2], quantized)
        rows, vectors = (x.transpose(1, 2).reshape(-1, dimension) for x in (gradient, latents))
        sums += rows.T @ rows
        energy += vectors.T @ vectors
        n_vectors += len(rows)
    return sums / n_vectors, energy / n_vectors


def _coded(run: Run, audio: Tensor, n_codebooks: int) -> tuple[Tensor, Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Return latents [B, D, T] of audio, the same quantized, and a function from these to (estimate, target) [B, 1, N]."""
    codec = run.codec
    if isinstance(run.codebooks, SplitCodebooks):
        return coded_shape(codec, audio, n_codebooks)
    with torch.no_grad():
        latents = codec.encoder(audio)
        quantized = codec.quantizer.decode(codec.quantizer.encode(latents, n_codebooks))
    return latents, quantized, lambda z: (codec.decoder(z)[..., : audio.shape[-1]], audio)


def basis_of(sensitivity: Tensor, energy: Tensor) -> Tensor:
    """Return the square root of H [D, D], range-limited and scaled to keep the latents' total energy: float64 [D, D]."""
    values, vectors = torch.linalg.eigh(sensitivity.double())
    root = (vectors * values.clamp(min=float(values.max()) / RANGE).sqrt()) @ vectors.T
    energy = energy.double()
    return root * (energy.trace() / (root @ energy @ root.T).trace()).sqrt()


def change_latent_basis(run: Run, batches: Iterable[Tensor]) -> None:
    """Move the latents of `run` into the basis of their loss; the codebooks must then be started again.

    Raises ValueError for architectures whose outer layers are not plain linear ones.
    """
    encoder, decoder = run.codec.encoder, run.codec.decoder
    if not isinstance(encoder, LinearLatentEncoder) or not isinstance(decoder, LinearLatentDecoder):
        raise ArgumentError("metric_steps: the seanet architecture cannot change the basis of its latents")
    basis = basis_of(*sensitivity(run, batches))
    inverse = torch.linalg.inv(basis)
    if run.average:
        _change_averages(run, basis, inverse)
    changed = [*encoder.change_basis(basis), *decoder.change_basis(inverse)]
    for parameter in changed:  # the averages of their gradients are in the old basis
        for optimizer in run.optimizers:
            if parameter in optimizer.state:
                optimizer.state[parameter]["exp_avg"].zero_()


def _change_averages(run: Run, basis: Tensor, inverse: Tensor) -> None:
    """Change the averaged weights in the same way: otherwise they would mix both bases for thousands of steps."""
    encoder: Any = run.codec.encoder
    decoder: Any = run.codec.decoder
    with run.averaged():
        changed = {id(p): p.clone() for p in [*encoder.change_basis(basis), *decoder.change_basis(inverse)]}
    for name, parameter in trained_parameters(run.codec):
        if id(parameter) in changed:
            run.average[name].copy_(changed[id(parameter)])
