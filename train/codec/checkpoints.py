"""The checkpoint of a codec in training, and the model that it exports."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from ...codec.checkpoints import save
from ...codec.config import CodecConfig
from ...format.errors import ArgumentError
from ..engine.checkpoints import (
    last_intact,
    load_optimizer,
    optimizer_tensors,
    read_run_info,
    with_prefix,
    without_prefix,
    write_checkpoint,
)
from .gpu_trainer import host_copy
from .state import Run, trained_parameters


def save_checkpoint(run: Run, folder: Path) -> None:
    """Write the run's state; the previous checkpoint is kept as a backup."""
    tensors = with_prefix("codec.", run.codec.state_dict())
    tensors |= {k: v for k, v in with_prefix("codebooks.", run.codebooks.state_dict()).items() if ".quantizer." not in k}
    for i, optimizer in enumerate(run.optimizers):
        tensors |= optimizer_tensors(f"optimizer.{i}.", optimizer)
    tensors |= with_prefix("average.", run.average)
    if run.adversary:
        tensors |= with_prefix("adversary.", run.adversary.state_dict()) | with_prefix("balancer.", run.balancer.state_dict())
        tensors |= optimizer_tensors("adversary_optimizer.", run.adversary.optimizer)
    write_checkpoint(folder, tensors, {"step": run.step, "seconds": run.seconds, "recipe": run.recipe.to_dict()})


def load_checkpoint(run: Run, folder: Path) -> bool:
    """Restore `run` from `folder`; returns False if there is no checkpoint.

    Raises ValueError if the checkpoint is of another codec or kind of training, or if none is intact.
    """
    path = last_intact(folder)
    if path is None:
        return False
    header = read_run_info(path)
    if not isinstance(header.get("recipe"), dict):
        raise ArgumentError(f"{path} is not a checkpoint of a codec; choose another output folder")
    own = run.recipe.to_dict()
    found = header["recipe"] | {"codec": with_defaults(header["recipe"].get("codec"))}
    if bool(found.get("muon_learning_rate")) != bool(run.recipe.muon_learning_rate):
        raise ArgumentError(f"{path} is a checkpoint of another optimizer (muon_learning_rate); choose another output folder")
    for key, what in (("codec", "codec"), ("adversary", "adversary"), ("frozen_tokens", "stage")):
        if found.get(key) != own[key]:
            raise ArgumentError(f"{path} is a checkpoint of another {what}; choose another output folder")
    tensors = load_file(path)
    run.codec.load_state_dict(without_prefix(tensors, "codec."))
    run.codebooks.load_state_dict(without_prefix(tensors, "codebooks."), strict=False)
    for i, optimizer in enumerate(run.optimizers):
        load_optimizer(optimizer, without_prefix(tensors, f"optimizer.{i}."))
    average = without_prefix(tensors, "average.")
    if run.average:  # a checkpoint without an average: it starts at the weights
        weights = {name: p.detach() for name, p in trained_parameters(run.codec)} | average
        run.average = {name: weights[name].clone().to(value.device) for name, value in run.average.items()}
    if run.adversary:
        run.adversary.load_state_dict(without_prefix(tensors, "adversary."))
        run.balancer.load_state_dict(without_prefix(tensors, "balancer."))
        load_optimizer(run.adversary.optimizer, without_prefix(tensors, "adversary_optimizer."))
    run.step, run.seconds = header["step"], header["seconds"]
    return True


def with_defaults(codec: object) -> object:
    """Return a codec's table with the fields that it lacks, because it is older than they are; unchanged if it is none."""
    try:
        return CodecConfig.from_dict(codec).to_dict()  # type: ignore[arg-type]
    except ValueError:
        return codec


def export_model(run: Run, folder: Path) -> None:
    """Write the trained codec as a model folder for `ecdc.load`, in float16: half the size, no measurable loss."""
    with run.averaged() as codec:
        save(host_copy(codec), folder, torch.float16)
