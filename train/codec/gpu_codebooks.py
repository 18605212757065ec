"""The functions of codebooks.py and split_step.py for a GPU, without any branch on the host.

If the host reads a value from a GPU, the GPU idles until the answer has arrived, and a CUDA graph cannot contain such reads.
So all vectors go through all codebooks here, and a mask removes what an item does not use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...codec.modules.levels import LevelVQ

if TYPE_CHECKING:
    from .codebooks import CodebookTrainer


@torch.no_grad()
def track_levels(quantizer: LevelVQ, exact: Tensor) -> tuple[Tensor, Tensor]:
    """Run all level codebooks in closed loop: exact [B, T, F] -> (codes [B, L, T], targets of each [B, L, T, F]).

    A codebook needs only the same frame of the previous codebook, so all run at once, each one frame behind the previous.
    """
    n_books, _, n_levels = quantizer.codebooks.shape
    batch_size, n_frames, _ = exact.shape
    taps = quantizer.taps.transpose(2, 3).flip(1).flatten(1, 2)  # [L, n_taps * F, F], oldest first
    entries, offset = quantizer.codebooks.transpose(1, 2), -0.5 * quantizer.codebooks.square().sum(2)[:, None]
    place = torch.arange(n_books, device=exact.device)[:, None]
    arriving = torch.cat([(exact - quantizer.mean) * quantizer.weight, exact.new_zeros(batch_size, n_books - 1, n_levels)], 1)
    past = exact.new_zeros(n_books, batch_size, quantizer.n_taps * n_levels)
    left = exact.new_zeros(n_books, batch_size, n_levels)
    codes, wanted = [], []
    for t in range(n_frames + n_books - 1):
        rest = torch.cat([arriving[None, :, t], left[:-1]])
        target = torch.baddbmm(rest, past, taps, alpha=-1)
        index = torch.baddbmm(offset, target, entries).argmax(2)  # [L, B]
        entry = quantizer.codebooks[place, index]
        left = target - entry
        if t < n_books - 1:  # later codebooks have no frame yet
            entry = entry * (place <= t).unsqueeze(2)
        past = torch.cat([past[..., n_levels:], entry], 2)
        codes.append(index)
        wanted.append(target)
    by_book = [slice(k, k + n_frames) for k in range(n_books)]
    all_codes, all_wanted = torch.stack(codes, 2), torch.stack(wanted, 2)  # [L, B, ticks], [L, B, ticks, F]
    return (
        torch.stack([all_codes[k, :, part] for k, part in enumerate(by_book)], 1),
        torch.stack([all_wanted[k, :, part] for k, part in enumerate(by_book)], 1),
    )


def quantize(trainer: CodebookTrainer, latents: Tensor, n_codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Like `CodebookTrainer.forward`: latents [B, D, T], n_codebooks [B] -> (quantized, commitment loss, codes [B, K, T])."""
    batch_size, dimension, n_frames = latents.shape
    residual = latents.transpose(1, 2).reshape(-1, dimension)  # [B*T, D]
    in_use = n_codebooks[:, None].expand(-1, n_frames).reshape(-1, 1)
    total, scales, scale = torch.zeros_like(residual), trainer.quantizer.scales, None
    codes, terms = [], []
    for q, codebook in enumerate(trainer.quantizer.codebooks):
        used = in_use > q
        with torch.no_grad():
            seen = residual.detach() if scale is None else residual.detach() / scale
            index = torch.addmm(-0.5 * codebook.square().sum(1), seen, codebook.T).argmax(1)
            chosen = codebook[index] if scale is None else codebook[index] * scale
            chosen = torch.where(used, chosen, 0.0)
            total += chosen
            codes.append(index)
            if q == 0 and scales is not None:
                scale = scales[index, None]
        residual = residual - chosen
        terms.append((residual.square() * used).sum() / latents.numel())
    quantized = total.view(batch_size, n_frames, dimension).transpose(1, 2)
    quantized = latents + (quantized - latents).detach()
    return quantized, torch.stack(terms).mean(), torch.stack(codes).view(-1, batch_size, n_frames).transpose(0, 1)


@torch.no_grad()
def learn(trainer: CodebookTrainer, n_codebooks: Tensor, latents: Tensor, codes: Tensor) -> None:
    """Like `CodebookTrainer.learn`: n_codebooks [B], latents [B, D, T], codes [B, K, T]."""
    residual = latents.transpose(1, 2).reshape(-1, latents.shape[1])  # [B*T, D]
    indices = codes.transpose(1, 2).reshape(len(residual), -1)  # [B*T, K]
    in_use = n_codebooks[:, None].expand(-1, latents.shape[2]).reshape(-1)
    order, scales = in_use.argsort(descending=True), trainer.quantizer.scales
    for q, codebook in enumerate(trainer.quantizer.codebooks):
        vectors, index = residual, indices[:, q]
        left = vectors - codebook[index]
        scale = scales[index, None] if q == 0 and scales is not None else None
        move(trainer, q, vectors, index, (in_use > q).to(vectors.dtype), order)
        residual = left if scale is None else left / scale


@torch.no_grad()
def move(trainer: CodebookTrainer, q: int, vectors: Tensor, index: Tensor, used: Tensor, order: Tensor) -> None:
    """Move codebook q towards the vectors [M, D] of its entries `index` [M], weighted by `used` [M] (0 or 1).

    `order` [M] lists the vectors in use first; a dead entry is replaced by one of them.
    """
    counts, sums, codebook = trainer.counts[q], trainer.sums[q], trainer.quantizer.codebooks[q]
    n_used, size = used.sum(), len(counts)
    weight = (1 - trainer.decay) * size / n_used.clamp(min=1) * used  # [M]
    decay = torch.where(n_used > 0, trainer.decay, 1.0)
    if q == 0 and trainer.quantizer.scales is not None:
        energy = (vectors - codebook[index]).square().mean(1) * used
    counts.mul_(decay).index_add_(0, index, weight)
    sums.mul_(decay).index_add_(0, index, vectors * weight[:, None])
    dead = (counts < trainer.revive_below) & (n_used > 0)
    if q == 0 and trainer.quantizer.scales is not None:
        mean = _sum_by(index, energy, size) / _sum_by(index, used, size).clamp(min=1)
        trainer.squares.lerp_(mean, _sum_by(index, weight, size) / counts)
        trainer.squares.copy_(torch.where(dead, energy.sum() / n_used.clamp(min=1), trainer.squares))
        torch.sqrt(trainer.squares.clamp(min=trainer.min_scale**2), out=trainer.quantizer.scales)
    pick = order[(torch.rand(size, device=order.device) * n_used).long().clamp(max=len(order) - 1)]
    sums.copy_(torch.where(dead[:, None], 0.5 * vectors[pick], sums))
    counts.masked_fill_(dead, 0.5)
    torch.div(sums, counts[:, None], out=codebook)


def _sum_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_add_(0, index, values)
