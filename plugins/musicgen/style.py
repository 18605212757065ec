"""Music as a style to follow: features of an excerpt, reduced to a few coarse codes (arXiv 2407.12563).

The features are those of MERT. Its code is part of its weights rather than of a library, and
such code is not run here. Set a function that computes them:

    model.lm.style.features = lambda wav, sample_rate: ...   # [N] -> [F, 768], 75 a second
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor

from ...format.errors import ArgumentError
from .config import CODEBOOK_SIZE, EXCERPT_SECONDS, N_CODEBOOKS, N_USED, STRIDE
from .transformer import Layer, sinusoids

N_FEATURES, WIDTH, N_HEADS, N_LAYERS = 768, 512, 8, 8


class StyleEncoder(nn.Module):
    """Features [F, 768] to style frames [ceil(F / 15), 512]: a bidirectional transformer, then a residual quantizer."""

    def __init__(self) -> None:
        super().__init__()
        self.features: Callable[[Tensor, int], Tensor] | None = None
        self.embed = nn.Linear(N_FEATURES, WIDTH)
        self.layers = nn.ModuleList(Layer(WIDTH, N_HEADS, 4 * WIDTH, cross_attention=False) for _ in range(N_LAYERS))
        self.mean, self.variance = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.codebooks = nn.Parameter(torch.zeros(N_CODEBOOKS * CODEBOOK_SIZE, WIDTH))  # all codebooks, concatenated

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """[F, 768] -> [ceil(F / 15), 512]."""
        x = self.embed(features)[None] + sinusoids(len(features), WIDTH)
        everything = torch.ones(1, 1, len(features), len(features), dtype=torch.bool)
        for layer in self.layers:
            x = layer(x, everything)
        residual = (x[0] - self.mean) / torch.sqrt(self.variance + 1e-5)
        total = torch.zeros_like(residual)
        for codebook in self.codebooks.split(CODEBOOK_SIZE)[:N_USED]:
            # The nearest entry; the frame's own square is the same for all entries and is omitted.
            nearest = (codebook.square().sum(dim=1) - 2 * residual @ codebook.t()).argmin(dim=1)
            total, residual = total + codebook[nearest], residual - codebook[nearest]
        return total[::STRIDE]

    def of_audio(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Encode mono audio [N] to [T, 512], using the three seconds in its middle (the original picks them at random).

        Raises ValueError if the audio is shorter, or if `features` is not set.
        """
        n_samples = int(EXCERPT_SECONDS * sample_rate)
        if self.features is None:
            raise ArgumentError("a style needs MERT's features: set model.lm.style.features to a function that computes them")
        if len(wav) < n_samples:
            raise ArgumentError(f"a style needs {EXCERPT_SECONDS:g} s of audio, got {len(wav) / sample_rate:g} s")
        start = (len(wav) - n_samples) // 2
        features = self.features(wav[start : start + n_samples], sample_rate)
        if features.dim() != 2 or features.shape[1] != N_FEATURES:
            raise ArgumentError(f"style features must be [F, {N_FEATURES}], got {tuple(features.shape)}")
        return self(features.float())  # type: ignore[no-any-return]
