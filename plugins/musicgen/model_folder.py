"""Our own model folders: config.json, model.safetensors and, for text, words.safetensors. Bundled models have names."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...codec.config import ConfigError
from ...codec.errors import CheckpointError
from ...format.files import atomic_path
from .config import MusicGenConfig
from .lm import MusicGenLM
from .published_weights import Part, Recipe
from .tensor_files import TensorFiles

BUNDLED = Path(__file__).parent / "weights"
CONFIG, WEIGHTS, WORDS = "config.json", "model.safetensors", "words.safetensors"


def bundled() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{WEIGHTS}"))


def is_own(values: Mapping[str, Any]) -> bool:
    """Return True if a config.json has our own layout."""
    return values.get("kind") == MusicGenConfig.kind


def save(lm: MusicGenLM, folder: str | os.PathLike[str], words: Path | None = None, dtype: torch.dtype = torch.float16) -> None:
    """Write a model that `load` reads, with parameters rounded to `dtype`. `words` is the text encoder's file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as partial:  # every process of a parallel run may write here
        save_file({name: tensor.detach().to(dtype).contiguous() for name, tensor in lm.state_dict().items()}, partial)
    (folder / CONFIG).write_text(json.dumps(lm.config.to_dict(), indent=2) + "\n")
    if words is not None and words.resolve() != (folder / WORDS).resolve():
        shutil.copyfile(words, folder / WORDS)


def own_config(values: Mapping[str, Any], path: Path) -> MusicGenConfig:
    """Return the configuration in our own format; raises CheckpointError if it describes no model."""
    try:
        return MusicGenConfig.from_dict(dict(values))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def own_recipe(config: MusicGenConfig, source: TensorFiles) -> Recipe:
    """Map every tensor to its own name. Raises CheckpointError if sizes differ from `config`, before allocating anything."""
    names = source.names()
    n_layers = len({name.split(".")[1] for name in names if re.match(r"layers\.\d+\.", name)})
    if n_layers != config.n_layers:
        raise CheckpointError(f"{source.path}: has {n_layers} layers, its {CONFIG} says {config.n_layers}")
    with torch.device("meta"):
        wanted = MusicGenLM(config).state_dict()
    return {name: [Part(name, tuple(tensor.shape))] for name, tensor in wanted.items()}
