"""Discriminators on short-time spectra, and the losses that the decoder gets from them.

There is one discriminator per window length, as in EnCodec (section 3.4), but at frame rate: the
spectrum is cut into bands, and each band is judged by one-dimensional convolutions over time.
That takes a tenth of the time of two-dimensional ones, which are too slow for two CPU cores.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import weight_norm

from ..engine import parallel
from .losses import spectrum
from .recipe import AdversaryRecipe

COMPRESSION = 0.3  # exponent of magnitudes, so that quiet bins count too
SLOPE = 0.2  # of leaky ReLUs
DILATIONS = (1, 2, 4)


def band_edges(n_bins: int, n_bands: int) -> list[int]:
    """Return the borders [0, ..., n_bins] of bands; each ends at twice the frequency at which the previous one ends."""
    return [0] + [round(n_bins * 2.0 ** (i + 1 - n_bands)) for i in range(n_bands)]


class SpectrumDiscriminator(nn.Module):
    """Judges audio by its spectrum at one window length, per band and frame."""

    def __init__(self, n_fft: int, n_bands: int, width: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.edges = band_edges(n_fft // 2 + 1, n_bands)
        self.inputs = nn.ModuleList(weight_norm(nn.Linear(2 * (b - a), width)) for a, b in pairwise(self.edges))
        channels = n_bands * width
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(channels, channels, 3, dilation=d, padding=d, groups=n_bands)) for d in DILATIONS
        )
        self.out = weight_norm(nn.Conv1d(channels, n_bands, 3, padding=1, groups=n_bands))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Audio [B, 1, N] -> (logits [B, bands, T], the activations of every layer [B, C, T])."""
        real, imaginary = spectrum(audio, self.n_fft)
        scale = (real.square() + imaginary.square() + 1e-7) ** ((COMPRESSION - 1) / 2)
        real, imaginary = real * scale, imaginary * scale
        parts = [
            layer(torch.cat([real[..., a:b], imaginary[..., a:b]], dim=-1))
            for layer, (a, b) in zip(self.inputs, pairwise(self.edges), strict=True)
        ]
        x = F.leaky_relu(torch.cat(parts, dim=-1).transpose(1, 2), SLOPE)
        features = [x]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.out(x), features


class Adversary(nn.Module):
    """All discriminators and their optimizer."""

    def __init__(self, recipe: AdversaryRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.discriminators = nn.ModuleList(SpectrumDiscriminator(n, recipe.bands, recipe.width) for n in recipe.windows)
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=recipe.learning_rate, betas=(0.8, 0.99), fused=True)

    def losses(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the losses that the decoder minimizes: hinge loss and distance of activations (EnCodec, equations 2 and 4).

        Shapes: estimate and target [B, 1, N]. Only the estimate receives gradients.
        """
        adversarial, feature = [], []
        for discriminator in self.discriminators:
            with torch.no_grad():
                _, wanted = discriminator(target)
            logits, found = discriminator(estimate)
            adversarial.append(F.relu(1 - logits).mean())
            feature += [(a - b).abs().mean() / b.abs().mean().clamp(min=1e-3) for a, b in zip(found, wanted, strict=True)]
        return {"adversarial": torch.stack(adversarial).mean(), "feature": torch.stack(feature).mean()}

    def learn(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Update the discriminators once with the hinge loss, which is returned: [B, 1, N] each, without gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for discriminator in self.discriminators:
            logits, _ = discriminator(torch.cat([target, estimate.detach()]))
            real, fake = logits.chunk(2)
            losses.append(F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        loss = torch.stack(losses).mean()
        loss.backward()
        parallel.average_gradients(self.parameters())
        nn.utils.clip_grad_norm_(self.parameters(), 10.0)
        self.optimizer.step()
        return loss.detach()

    def weight_at(self, step: int) -> float:
        """Return the factor of the adversarial weights: 0 while only the discriminators learn, then a ramp to 1."""
        since = step - self.recipe.alone_steps
        return min(1.0, max(0.0, since / max(1, self.recipe.ramp_steps)))
