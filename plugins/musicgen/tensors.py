"""Tensors in files, read one at a time from memory-mapped pages: safetensors, whole or in shards, and pickles."""

from __future__ import annotations

import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...codec.checkpoints import audiocraft_values, shards
from ...codec.errors import CheckpointError
from ...codec.pickles import read_pickle

INDEX = "model.safetensors.index.json"


class TensorFiles:
    """Tensors of one or more safetensors files by name; nothing is read before it is asked for.

    Each tensor comes of a mapping of its own: the pages of those that were converted and let go are let go too.
    """

    def __init__(self, path: Path) -> None:
        """`path` is a file, or the index of a model in shards. Raises CheckpointError where a file is missing or none."""
        self.path = path
        self._files: dict[str, Path] = {}  # tensor name: the file that holds it
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file, promised in _shards(path).items():
            try:
                opened = safe_open(file, "pt")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{file}: {error}") from error
            held = set(opened.keys())
            missing = sorted(promised - held)
            if missing:
                raise CheckpointError(f"{file}: lacks {missing[0]}, which {path.name} says is there")
            for name in promised or held:
                self._files[name], self._shapes[name] = file, tuple(opened.get_slice(name).get_shape())

    def names(self) -> set[str]:
        """All names."""
        return set(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor, without reading it."""
        return self._shapes[name]

    def get(self, name: str) -> Tensor:
        """The tensor; its pages come from the file when they are used."""
        with safe_open(self._files[name], "pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


class PickledTensors:
    """Tensors of an audiocraft package, of whose file nothing is run and only what is used is read."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError where the file holds no model."""
        self.path = path
        content = read_pickle(path, mmap=zipfile.is_zipfile(path))
        if not isinstance(content, dict) or not isinstance(content.get("best_state"), dict):
            raise CheckpointError(f"{path}: holds no model of audiocraft (best_state)")
        state = content["best_state"]
        state = state.get("model", state)
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise CheckpointError(f"{path}: best_state holds no state dict")
        self._tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
        self.configuration = audiocraft_values(content.get("xp.cfg"), path)

    def names(self) -> set[str]:
        """All names."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return tuple(self._tensors[name].shape)

    def get(self, name: str) -> Tensor:
        """The tensor."""
        return self._tensors[name]


def _shards(path: Path) -> dict[Path, set[str]]:
    """Files, and the names that an index puts in each; a single file is asked itself."""
    if path.suffix != ".json":
        return {path: set()}
    return shards(path)
