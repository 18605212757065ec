"""Checkpoints of a training run: safetensors only, written atomically, with the previous one as a backup."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...format.files import whole_file
from .gpu import host_copy
from .state import Run

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


class Stateful(Protocol):
    """The part of an optimizer that a checkpoint needs."""

    def state_dict(self) -> dict[str, Any]:
        """Return its state by number, and its groups."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Load what `state_dict` returned."""
        ...


def save_checkpoint(run: Run, folder: Path) -> None:
    """Write the run's state; the previous checkpoint is kept as a backup."""
    tensors = _named("codec.", run.codec.state_dict())
    tensors |= {k: v for k, v in _named("codebooks.", run.codebooks.state_dict()).items() if ".quantizer." not in k}
    for i, optimizer in enumerate(run.optimizers):
        tensors |= _optimizer_tensors(f"optimizer.{i}.", optimizer)
    tensors |= _named("average.", run.average)
    if run.adversary:
        tensors |= _named("adversary.", run.adversary.state_dict()) | _named("balancer.", run.balancer.state_dict())
        tensors |= _optimizer_tensors("adversary_optimizer.", run.adversary.optimizer)
    _write(folder, tensors, {"step": run.step, "seconds": run.seconds, "recipe": run.recipe.to_dict()})


class Resumable(Protocol):
    """A run with one module and one optimizer."""

    optimizer: Any  # Stateful
    step: int
    seconds: float


def save_module(folder: Path, module: nn.Module, run: Resumable, same: dict[str, Any]) -> None:
    """Save a run of one module. `same` holds values that must be equal in a run that continues from it."""
    tensors = _named("module.", module.state_dict()) | _optimizer_tensors("optimizer.", run.optimizer)
    _write(folder, tensors, {"step": run.step, "seconds": run.seconds, **same})


def load_module(folder: Path, module: nn.Module, run: Resumable, same: dict[str, Any]) -> bool:
    """Continue from what `save_module` wrote; returns False if there is no checkpoint.

    Raises ValueError if the checkpoint differs from `same` in one of its keys, or if none is intact.
    """
    path = last_whole(folder)
    if path is None:
        return False
    about = _about(path)
    for key, value in same.items():
        if about.get(key) != value:
            raise ValueError(f"{path} is a checkpoint of another {key.replace('_', ' ')}; choose another output folder")
    tensors = load_file(path)
    module.load_state_dict(_under(tensors, "module."))
    _load_optimizer(run.optimizer, _under(tensors, "optimizer."))
    run.step, run.seconds = about["step"], about["seconds"]
    return True


def _write(folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    path = folder / NAME
    for leftover in folder.glob(f".{NAME}.*.partial"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    with whole_file(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata={"run": json.dumps(about)})
        if path.exists() and _is_whole(path):
            path.replace(folder / PREVIOUS)


def last_whole(folder: Path) -> Path | None:
    """Return the checkpoint to continue from: the last one, or the previous one if that is damaged; None if there is none.

    Raises ValueError if all existing ones are damaged.
    """
    found = [folder / name for name in (NAME, PREVIOUS) if (folder / name).exists()]
    for path in found:
        if _is_whole(path):
            if path != found[0]:
                warnings.warn(f"{found[0]}: is damaged; going on from the checkpoint before it", stacklevel=3)
            return path
    if found:
        raise ValueError(f"{found[0]}: is damaged, and there is no whole one before it; remove it to start anew")
    return None


def _is_whole(path: Path) -> bool:
    """Return True if the file has the size given in its header and describes a run."""
    try:
        _about(path)
    except (SafetensorError, TypeError, KeyError, ValueError):
        return False
    return True


def _about(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["run"])
    return found


def load_checkpoint(run: Run, folder: Path) -> bool:
    """Restore `run` from `folder`; returns False if there is no checkpoint.

    Raises ValueError if the checkpoint is of another codec or kind of training, or if none is intact.
    """
    path = last_whole(folder)
    if path is None:
        return False
    header = _about(path)
    own = run.recipe.to_dict()
    for key, what in (("codec", "codec"), ("adversary", "adversary"), ("frozen_tokens", "stage")):
        if header["recipe"].get(key) != own[key]:
            raise ValueError(f"{path} is a checkpoint of another {what}; choose another output folder")
    tensors = load_file(path)
    run.codec.load_state_dict(_under(tensors, "codec."))
    run.codebooks.load_state_dict(_under(tensors, "codebooks."), strict=False)
    for i, optimizer in enumerate(run.optimizers):
        _load_optimizer(optimizer, _under(tensors, f"optimizer.{i}."))
    average = _under(tensors, "average.")
    run.average = {name: average[name].to(value.device) for name, value in run.average.items() if name in average}
    if run.adversary:
        run.adversary.load_state_dict(_under(tensors, "adversary."))
        run.balancer.load_state_dict(_under(tensors, "balancer."))
        _load_optimizer(run.adversary.optimizer, _under(tensors, "adversary_optimizer."))
    run.step, run.seconds = header["step"], header["seconds"]
    return True


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + k: v for k, v in tensors.items()}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _optimizer_tensors(prefix: str, optimizer: Stateful) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {f"{prefix}{index}.{k}": v for index, state in states.items() for k, v in state.items()}


def _load_optimizer(optimizer: Stateful, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def export_model(run: Run, folder: Path) -> None:
    """Write the trained codec as a model folder for `ecdc.load`, in float16: half the size, no measurable loss."""
    from ..checkpoints import save

    with run.averaged() as codec:
        save(host_copy(codec), folder, torch.float16)
