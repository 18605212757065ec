"""Checkpoints of a training run: safetensors only, written atomically, with the previous one as a backup."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...format.errors import ArgumentError
from ...format.files import atomic_path

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


class Stateful(Protocol):
    """The part of an optimizer that a checkpoint needs."""

    def state_dict(self) -> dict[str, Any]:
        """Return its state by number, and its groups."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Load what `state_dict` returned."""
        ...


class Resumable(Protocol):
    """A run with one module and one optimizer."""

    optimizer: Any  # Stateful
    step: int
    seconds: float


def save_module(folder: Path, module: nn.Module, run: Resumable, same: dict[str, Any]) -> None:
    """Save a run of one module. `same` holds values that must be equal in a run that continues from it."""
    tensors = with_prefix("module.", module.state_dict()) | optimizer_tensors("optimizer.", run.optimizer)
    write_checkpoint(folder, tensors, {"step": run.step, "seconds": run.seconds, **same})


def load_module(folder: Path, module: nn.Module, run: Resumable, same: dict[str, Any]) -> bool:
    """Continue from what `save_module` wrote; returns False if there is no checkpoint.

    Raises ValueError if the checkpoint differs from `same` in one of its keys, or from the module in a size, or if none is
    intact.
    """
    path = last_intact(folder)
    if path is None:
        return False
    about = read_run_info(path)
    for key, value in same.items():
        if about.get(key) != value:
            raise ArgumentError(f"{path} is a checkpoint of another {key.replace('_', ' ')}; choose another output folder")
    tensors = load_file(path)
    found, wanted = without_prefix(tensors, "module."), module.state_dict()
    if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in wanted.items()}:
        raise ArgumentError(f"{path} is a checkpoint of a network of another size; choose another output folder")
    module.load_state_dict(found)
    load_optimizer(run.optimizer, without_prefix(tensors, "optimizer."))
    run.step, run.seconds = about["step"], about["seconds"]
    return True


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    path = folder / NAME
    for leftover in folder.glob(f".{NAME}.*.partial"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    with atomic_path(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata={"run": json.dumps(about)})
        if path.exists() and _is_intact(path):
            path.replace(folder / PREVIOUS)


def last_intact(folder: Path) -> Path | None:
    """Return the checkpoint to continue from: the last one, or the previous one if that is damaged; None if there is none.

    Raises ValueError if all existing ones are damaged.
    """
    found = [folder / name for name in (NAME, PREVIOUS) if (folder / name).exists()]
    for path in found:
        if _is_intact(path):
            if path != found[0]:
                warnings.warn(f"{found[0]}: is damaged; continuing from the checkpoint before it", stacklevel=3)
            return path
    if found:
        raise ArgumentError(f"{found[0]}: is damaged, and there is no intact checkpoint before it; remove it to start again")
    return None


def _is_intact(path: Path) -> bool:
    """Return True if the file has the size given in its header and describes a run."""
    try:
        read_run_info(path)
    except (SafetensorError, TypeError, KeyError, ValueError):
        return False
    return True


def read_run_info(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["run"])
    return found


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + k: v for k, v in tensors.items()}


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def optimizer_tensors(prefix: str, optimizer: Stateful) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {f"{prefix}{index}.{k}": v for index, state in states.items() for k, v in state.items()}


def load_optimizer(optimizer: Stateful, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
