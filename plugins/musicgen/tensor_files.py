"""Read tensors one at a time from memory-mapped files: safetensors, single or sharded, and pickles."""

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
    """Tensors of one or more safetensors files by name, each read only on request.

    Each tensor has its own memory mapping, so its pages are freed once the tensor is converted and released.
    """

    def __init__(self, path: Path) -> None:
        """`path` is a file, or the index of a sharded model. Raises CheckpointError if a file is missing or invalid."""
        self.path = path
        self._files: dict[str, Path] = {}  # tensor name: its file
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file, promised in _shards(path).items():
            try:
                opened = safe_open(file, "pt")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{file}: {error}") from error
            held = set(opened.keys())
            missing = sorted(promised - held)
            if missing:
                raise CheckpointError(f"{file}: lacks {missing[0]}, which {path.name} lists")
            for name in promised or held:
                self._files[name], self._shapes[name] = file, tuple(opened.get_slice(name).get_shape())

    def names(self) -> set[str]:
        """Return all names."""
        return set(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        return self._shapes[name]

    def get(self, name: str) -> Tensor:
        """Return the tensor. Its pages are read from the file when they are used."""
        with safe_open(self._files[name], "pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


class PickledTensors:
    """Tensors of an audiocraft package. No code from the file is run, and only the tensors that are used are read."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError if the file holds no model."""
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
        """Return all names."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._tensors[name].shape)

    def get(self, name: str) -> Tensor:
        """Return the tensor."""
        return self._tensors[name]


def _shards(path: Path) -> dict[Path, set[str]]:
    """Return the files, and the tensor names that an index lists for each; for a single file, an empty set."""
    if path.suffix != ".json":
        return {path: set()}
    return shards(path)
