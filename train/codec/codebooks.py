"""Train codebooks: k-means start, exponential moving averages, replacement of unused entries."""

from __future__ import annotations

import numba
import torch
import torch.nn as nn
from torch import Tensor

from ...codec.modules.levels import LevelVQ
from ...codec.quantize.residual import ResidualVQ
from ...format.errors import ArgumentError
from ..engine.hardware import has_bfloat16, on_host
from . import gpu_codebooks

MIN_SCALE = 0.02  # of a residual, relative to latents of about unit variance


class Assigner:
    """Nearest-entry search over a codebook [V, D], without the exactness that inference guarantees.

    The product is in bfloat16 if the CPU supports it; then an entry that is almost as near may be chosen.
    """

    def __init__(self, codebook: Tensor) -> None:
        self.offset, self.dtype = -0.5 * codebook.square().sum(1), codebook.dtype
        if has_bfloat16() and on_host(codebook):
            self.dtype = torch.bfloat16
        self.entries = codebook.to(self.dtype).t()

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors [M, D] -> indices [M]."""
        return (x.to(self.dtype) @ self.entries).float().add_(self.offset).argmax(dim=1)


def assign(x: Tensor, codebook: Tensor) -> Tensor:
    """Return the nearest entry, as found by `Assigner`: [M, D], [V, D] -> [M]."""
    return Assigner(codebook)(x)


class CodebookTrainer(nn.Module):
    """Trains a ResidualVQ in place (van den Oord et al. 2017, appendix A.1; EnCodec, section 3.2).

    Each codebook entry is the moving average of the vectors assigned to it, and each scale is the
    moving root mean square of the residual after its entry. An entry whose share of recent vectors
    falls below `revive_below` times an even share is replaced by a random vector of the current
    batch.
    """

    counts: Tensor
    sums: Tensor
    squares: Tensor
    started: Tensor

    def __init__(self, quantizer: ResidualVQ | LevelVQ, decay: float = 0.99, revive_below: float = 0.1) -> None:
        super().__init__()
        self.quantizer, self.decay, self.revive_below, self.min_scale = quantizer, decay, revive_below, MIN_SCALE
        n_codebooks, size, _ = quantizer.codebooks.shape
        self.register_buffer("counts", torch.ones(n_codebooks, size))
        self.register_buffer("sums", torch.zeros_like(quantizer.codebooks))
        self.register_buffer("squares", torch.ones(size))  # of the residual after the first codebook
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def start(self, vectors: Tensor, generator: torch.Generator, iterations: int = 12) -> None:
        """Run k-means, codebook by codebook, on latents [M, D]; M must be at least V."""
        residual = vectors
        for q, codebook in enumerate(self.quantizer.codebooks):
            kmeans(residual, codebook, generator, iterations)
            self.counts[q] = 1.0
            self.sums[q] = codebook
            index = assign(residual, codebook)
            residual = residual - codebook[index]
            if q == 0 and self.quantizer.scales is not None:
                size = len(codebook)
                energy = residual.square().mean(1)
                self.squares.copy_(_sum_by_index(index, energy, size) / torch.bincount(index, minlength=size).clamp(min=1))
                self._set_scales()
                residual = residual / self.quantizer.scales[index, None]
        self.started.fill_(True)

    @torch.no_grad()
    def continue_from_quantizer(self) -> None:
        """Start from the quantizer's entries and scales instead of k-means."""
        self.counts.fill_(1.0)
        self.sums.copy_(self.quantizer.codebooks)
        if self.quantizer.scales is not None:
            self.squares.copy_(self.quantizer.scales.square())
        self.started.fill_(True)

    def forward(self, latents: Tensor, n_codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize with a number of codebooks per item.

        Shapes: latents [B, D, T], n_codebooks [B] -> (quantized [B, D, T] with a straight-through
        gradient, commitment loss, codes [B, K, T]). The straight-through gradient bypasses the sum as a
        whole, so every codebook's commitment loss reaches the encoder.
        """
        if not on_host(latents):
            return gpu_codebooks.quantize(self, latents, n_codebooks)
        batch_size, dimension, n_frames = latents.shape
        order = n_codebooks.argsort(descending=True, stable=True)
        residual = latents.transpose(1, 2)[order].reshape(-1, dimension)  # [B*T, D], items with the most codebooks first
        codes = torch.zeros(len(self.quantizer.codebooks), len(residual), dtype=torch.int64, device=residual.device)
        total, scale = torch.zeros_like(residual), None
        terms = []
        for q, codebook in enumerate(self.quantizer.codebooks):
            n = int((n_codebooks > q).sum()) * n_frames  # number of vectors that use this codebook: the first ones
            residual = residual[:n]
            with torch.no_grad():
                seen = residual.detach()
                index = assign(seen if scale is None else seen / scale[:n], codebook)
                codes[q, :n] = index
                chosen = codebook[index] if scale is None else codebook[index] * scale[:n]
                total[:n] += chosen
                if q == 0 and self.quantizer.scales is not None:
                    scale = self.quantizer.scales[index, None]
            residual = residual - chosen
            terms.append(residual.square().sum() / latents.numel())
        back = order.argsort()
        quantized = total.view(batch_size, n_frames, dimension)[back].transpose(1, 2)
        quantized = latents + (quantized - latents).detach()
        return quantized, torch.stack(terms).mean(), codes.view(-1, batch_size, n_frames)[:, back].transpose(0, 1)

    @torch.no_grad()
    def learn(self, generator: torch.Generator, n_codebooks: Tensor, latents: Tensor, codes: Tensor) -> None:
        """Move every codebook towards the vectors that `forward` assigned to its entries.

        Shapes: n_codebooks [B], latents [B, D, T], codes [B, K, T], of the global batch.
        """
        if not on_host(latents):
            gpu_codebooks.learn(self, n_codebooks, latents, codes)
            return
        residual = latents.transpose(1, 2).reshape(-1, latents.shape[1])  # [B*T, D]
        indices = codes.transpose(1, 2).reshape(len(residual), -1)  # [B*T, K]
        in_use = n_codebooks.repeat_interleave(latents.shape[2])  # [B*T]
        for q, codebook in enumerate(self.quantizer.codebooks):
            active = in_use > q
            vectors, index = residual[active], indices[active, q]
            residual = residual - codebook[indices[:, q]]
            if len(vectors):
                left = residual[active]
                if q == 0 and self.quantizer.scales is not None:
                    residual = residual / self.quantizer.scales[indices[:, 0], None]
                self._move(q, vectors, index, left, generator)

    def _move(self, q: int, vectors: Tensor, index: Tensor, left: Tensor, generator: torch.Generator) -> None:
        counts, sums = self.counts[q], self.sums[q]
        # Counts are relative to an even share of the vectors that dropout left in the batch.
        weight = (1 - self.decay) * len(counts) / len(vectors)
        _accumulate(counts.numpy(), sums.numpy(), vectors.numpy(), index.numpy(), self.decay, weight)
        if q == 0 and self.quantizer.scales is not None:
            # A moving mean per entry, which moves as fast as the entry's own count.
            share = _sum_by_index(index, torch.full_like(counts[:1], weight).expand(index.shape), len(counts)) / counts
            mean = _sum_by_index(index, left.square().mean(1), len(counts)) / torch.bincount(
                index, minlength=len(counts)
            ).clamp(min=1)
            self.squares.lerp_(mean, share)
            self._set_scales()
        dead = (counts < self.revive_below).nonzero()[:, 0]
        if len(dead):
            counts[dead] = 0.5
            sums[dead] = 0.5 * vectors[torch.randint(len(vectors), (len(dead),), generator=generator)]
            if q == 0:
                self.squares[dead] = left.square().mean()
        torch.div(sums, counts[:, None], out=self.quantizer.codebooks[q])

    def _set_scales(self) -> None:
        assert self.quantizer.scales is not None
        torch.sqrt(self.squares.clamp(min=MIN_SCALE**2), out=self.quantizer.scales)


def kmeans(vectors: Tensor, codebook: Tensor, generator: torch.Generator, iterations: int) -> None:
    """Run Lloyd's algorithm into `codebook` [V, D], starting from random vectors [M, D]. Unused entries are redrawn."""
    size = len(codebook)
    if len(vectors) < size:
        raise ArgumentError(f"k-means needs at least {size} vectors, got {len(vectors)}")
    codebook.copy_(vectors[torch.randperm(len(vectors), generator=generator)[:size]])
    for _ in range(iterations):
        index = assign(vectors, codebook)
        counts = torch.bincount(index, minlength=size)
        used = counts > 0
        codebook[used] = (torch.zeros_like(codebook).index_add_(0, index, vectors) / counts.clamp(min=1)[:, None])[used]
        empty = (~used).nonzero()[:, 0]
        codebook[empty] = vectors[torch.randint(len(vectors), (len(empty),), generator=generator)]


def _sum_by_index(index: Tensor, values: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_add_(0, index, values)


@numba.njit(cache=True)
def _accumulate(counts, sums, vectors, index, decay, weight):
    """Decay counts [V] and sums [V, D], then add each vector [M, D] to its entry."""
    counts *= decay
    sums *= decay
    for m in range(len(index)):
        v = index[m]
        counts[v] += weight
        for d in range(vectors.shape[1]):
            sums[v, d] += weight * vectors[m, d]


def perplexity(codes: Tensor, size: int) -> Tensor:
    """Return the effective number of codes in use, per codebook: codes [B, K, T] -> [K]."""
    rows = codes.transpose(0, 1).flatten(1)
    share = torch.stack([torch.bincount(row, minlength=size) for row in rows]).double()
    share = share / share.sum(1, keepdim=True)
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum(1))
