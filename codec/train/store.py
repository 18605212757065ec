"""Checkpoints of a training run: safetensors only, written beside and renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from .loop import Run

NAME = "checkpoint.safetensors"


def save_checkpoint(run: Run, folder: Path) -> None:
    """Write the run's state so that either the old or the new checkpoint is whole."""
    tensors = {f"codec.{k}": v for k, v in run.codec.state_dict().items()}
    tensors |= {f"codebooks.{k}": v for k, v in run.codebooks.state_dict().items() if not k.startswith("quantizer.")}
    for index, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    header = {"step": run.step, "seconds": run.seconds, "recipe": run.recipe.to_dict()}
    partial = folder / (NAME + ".partial")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata={"run": json.dumps(header)})
        os.replace(partial, folder / NAME)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(run: Run, folder: Path) -> bool:
    """Restore `run` from `folder`; False where there is no checkpoint.

    Raises ValueError where the checkpoint is of another codec or batch.
    """
    from safetensors import safe_open

    path = folder / NAME
    if not path.exists():
        return False
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["run"])
    if header["recipe"]["codec"] != run.recipe.to_dict()["codec"]:
        raise ValueError(f"{path} is a checkpoint of another codec; choose another output folder")
    tensors = load_file(path)
    run.codec.load_state_dict(_under(tensors, "codec."))
    run.codebooks.load_state_dict(_under(tensors, "codebooks."), strict=False)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": state, "param_groups": groups})
    run.step, run.seconds = header["step"], header["seconds"]
    return True


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def export_model(run: Run, folder: Path) -> None:
    """Write the trained codec as a model folder that `ecdc.load` reads, in float16: half the size, no measurable loss."""
    from ..checkpoints import save

    save(run.codec, folder, torch.float16)
