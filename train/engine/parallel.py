"""Data-parallel training: a thin layer over torch.distributed, which does nothing for a single process.

Every process draws the same global batch and keeps its own items. Gradients are averaged and
latents gathered, so weights and codebooks stay equal everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from ...format.errors import ArgumentError


def start() -> None:
    """Join the process group that torchrun describes in the environment, if any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


def stop() -> None:
    """Leave the process group once all processes are here; a process may abort if the others leave it earlier."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number; number 0 writes files and reports."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_rows(batch: Tensor) -> Tensor:
    """Return this process's items of a global batch [B, ...]; B must be a multiple of the world size."""
    if batch.shape[0] % world_size():
        n, processes = batch.shape[0], world_size()
        raise ArgumentError(
            f"a batch of {n} items cannot be divided among {processes} processes; change batch_size in the recipe"
        )
    return batch.chunk(world_size())[rank()]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the global batch, given this process's part of it."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over all processes."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, (flat / world_size()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def add_up(values: Tensor) -> None:
    """Replace `values` by their sum over all processes."""
    if world_size() > 1:
        dist.all_reduce(values)


def any_process(flag: bool) -> bool:
    """Return True if `flag` is true in at least one process, so that all of them stop together."""
    if world_size() == 1:
        return flag
    votes = torch.tensor(int(flag))
    dist.all_reduce(votes)
    return bool(votes)
