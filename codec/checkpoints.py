"""Load models by name: bundled ones, our own folders, and EnCodec as published by others.

Files are only data: safetensors, JSON, and pickles from which no code is run (pickles.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..format.arguments import path_name
from ..format.files import atomic_path
from .bundled import (
    BUNDLED,
    CONFIG,
    WEIGHTS,
    bundled_names,
    check_bundled,
    check_exists,
    first_line,
    models,
    read_config,
    read_json,
)
from .config import CodecConfig
from .encodec_configs import ENCODEC_24KHZ, ENCODEC_48KHZ, PUBLISHED, audiocraft_config, hugging_face_config
from .encodec_weights import WEIGHT_NORM, convert
from .errors import CheckpointError
from .model import Codec
from .pickles import read_pickle

AUDIOCRAFT = "compression_state_dict.bin"
BIN, SHARDED = "pytorch_model.bin", ("model.safetensors.index.json", "pytorch_model.bin.index.json")  # of Hugging Face
IN_FOLDERS = {WEIGHTS, BIN, *SHARDED}  # files with a config.json next to them

__all__ = ["BUNDLED", "CONFIG", "CheckpointError", "load", "load_bundled", "models", "read_json", "save"]


def load(
    name_or_path: str | os.PathLike[str], config: CodecConfig | None = None, reference: bool = False, device: str = "cpu"
) -> Codec:
    """Load a codec, ready for inference.

    `name_or_path` is a bundled model's name, a folder or file (of ours, of EnCodec's original
    release, of audiocraft, or of Hugging Face), or the name of a model on the Hugging Face hub, which
    also holds "encodec_24khz", "encodec_48khz" and "encodec_32khz". `config` is for original files that
    match neither published model. `reference` is as in `Codec.ready`. `device` is "cpu", "cuda", "mps"
    or "auto"; raises ValueError if the device would give other codes. Raises CheckpointError, with one
    line, if there is no model.
    """
    path_name(name_or_path)
    if device != "cpu":
        from .device import on_device

        return on_device(load(name_or_path, config, reference), device, encoding=True)
    path = _locate(name_or_path)
    if path.is_dir():
        path = next((path / name for name in (WEIGHTS, *SHARDED, BIN, AUDIOCRAFT) if (path / name).exists()), path / WEIGHTS)
    # On the meta device, so that sizes in a configuration allocate no memory. Bundled models are trusted, because for
    # the meta device torch imports its compiler, which takes two seconds.
    is_bundled = path.parent.parent == BUNDLED
    with contextlib.nullcontext() if is_bundled else torch.device("meta"):
        codec, state = (_from_folder if path.name in IN_FOLDERS else _from_file)(path, config)
    return _filled(codec, state, path).ready(reference)


def from_published(config: CodecConfig, tensors: Mapping[str, Tensor], where: Path) -> Codec:
    """Return the codec of published tensors of any layout, ready for inference. Raises CheckpointError if they do not fit."""
    with torch.device("meta"):
        codec = Codec(config)
        state = convert(tensors, codec, where)
    return _filled(codec, state, where).ready()


def load_bundled(name: str) -> Codec:
    """Load the bundled codec whose name comes from a file. Raises CheckpointError for any other name.

    Files are not trusted: a name in them is never opened as a path, nor looked up on the hub.
    """
    check_bundled(name)
    return load(name)


@lru_cache(maxsize=4)
def shared(name_or_path: str) -> Codec:
    """Like `load`, but cached. The codec must not be changed."""
    return load(name_or_path)


@lru_cache(maxsize=4)
def shared_bundled(name: str) -> Codec:
    """Like `load_bundled`, but cached. The codec must not be changed."""
    return load_bundled(name)


def save(codec: Codec, folder: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
    """Write a codec as config.json and model.safetensors, with parameters rounded to `dtype`; `load` reads the folder.

    A rounded codec is a different one, with its own token space: when loaded, it computes in float32 or
    float64 with exactly the values in the file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: (v.to(dtype) if v.is_floating_point() else v).cpu().contiguous() for k, v in codec.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as partial:
        save_file(state, partial)
    (folder / CONFIG).write_text(json.dumps(codec.config.to_dict(), indent=2) + "\n")


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file or folder of a name, downloaded from the hub if needed."""
    name = str(name_or_path)
    if name in bundled_names():
        return BUNDLED / name
    if Path(name).exists():
        return Path(name)
    if name in PUBLISHED:
        return _fetch(f"facebook/{name}")
    check_exists(name_or_path)
    return _fetch(name)


def _fetch(repository: str) -> Path:
    """Return the weights of a model on the hub, with its configuration next to them; downloaded unless cached."""
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    except ImportError as error:
        raise CheckpointError(f"{repository}: not here, and the hub needs huggingface_hub (pip install -e '.[hub]')") from error

    def fetched(name: str) -> Path:
        cached = try_to_load_from_cache(repository, name)
        return Path(cached if isinstance(cached, str) else hf_hub_download(repository, name))

    try:
        with _quiet("huggingface_hub"):
            values = read_json(fetched(CONFIG))
            is_codec = "architecture" in values or values.get("model_type") == "encodec"
            return fetched(WEIGHTS if is_codec else AUDIOCRAFT)  # a MusicGen repository includes its codec
    except CheckpointError:
        raise
    except Exception as error:  # from the network, the hub or its cache: dozens of types
        raise CheckpointError(f"{repository}: is not on this machine, and cannot be downloaded: {first_line(error)}") from error


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Suppress a library's warnings; whatever matters is raised as an exception."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _from_folder(path: Path, config: CodecConfig | None) -> tuple[Codec, dict[str, Tensor]]:
    """Read our layout or Hugging Face's, with a config.json next to the weights; return the codec and its tensors."""
    values = read_json(path.parent / CONFIG)
    is_ours = "architecture" in values
    if config is None:
        config = read_config(path.parent) if is_ours else hugging_face_config(values, path.parent.resolve().name)
    state = _tensors(path)
    codec = Codec(config)
    return codec, state if is_ours else convert(state, codec, path)


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file, or of the shards that an index lists."""
    if path.suffix == ".json":
        state: dict[str, Tensor] = {}
        for file in sorted(shards(path)):
            state |= _tensors(file)
        return state
    if path.suffix != ".safetensors":
        return _named(read_pickle(path), path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error


def shards(index: Path) -> dict[Path, set[str]]:
    """Return the files of a sharded model, each with the tensors that the index lists for it. Raises CheckpointError."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: lacks weight_map, which says where tensors are")
    found: dict[Path, set[str]] = {}
    for name, file in weight_map.items():
        # It must be a plain name: an index must not lead out of its folder, nor to another index.
        if not isinstance(file, str) or Path(file).name != file or Path(file).suffix not in (".safetensors", ".bin"):
            raise CheckpointError(f"{index}: {name} must be in a file beside it, got {file!r}")
        found.setdefault(index.parent / file, set()).add(name)
    return found


def _named(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict."""
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path}: holds no state dict: its keys must be names")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _from_file(path: Path, config: CodecConfig | None) -> tuple[Codec, dict[str, Tensor]]:
    """Read the original release's bare state dict, or audiocraft's package; return the codec and its tensors."""
    if path.suffix == ".safetensors":
        return _from_folder(path, config)
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no state dict")
    if "pretrained" in content:
        raise CheckpointError(f"{path}: only points to {content['pretrained']!r}, load that instead")
    state = content
    if "best_state" in content:
        state = content["best_state"]
        state = state.get("model", state) if isinstance(state, dict) else {}
    state = _named(state, path)
    if config is None:
        config = _audiocraft_config(content, path) if "best_state" in content else _original_config(state, path)
    codec = Codec(config)
    return codec, convert(state, codec, path)


def _original_config(state: Mapping[str, Tensor], path: Path) -> CodecConfig:
    """Return which of the two original models a bare state dict is, by its normalization."""
    first = "encoder.model.0.conv."
    if any(f"{first}conv.{gain}" in state for gain, _ in WEIGHT_NORM):
        return ENCODEC_24KHZ
    if f"{first}norm.weight" in state:
        return ENCODEC_48KHZ
    raise CheckpointError(f"{path}: neither encodec_24khz nor encodec_48khz, nor a package of audiocraft")


def audiocraft_values(values: Any, path: Path) -> dict[str, Any]:
    """Return audiocraft's xp.cfg as tables; it is text in exported packages, tables in checkpoints. Raises CheckpointError."""
    if isinstance(values, str):
        try:
            import yaml
        except ImportError as error:
            raise CheckpointError(f"{path}: reading its configuration needs PyYAML (pip install pyyaml)") from error
        try:
            values = yaml.safe_load(values)
        except yaml.YAMLError as error:
            raise CheckpointError(f"{path}: xp.cfg is not plain YAML: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: lacks xp.cfg, which describes the model")
    return values


def _audiocraft_config(content: Mapping[str, Any], path: Path) -> CodecConfig:
    values = audiocraft_values(content.get("xp.cfg"), path)
    return audiocraft_config(values, path.resolve().parent.name if path.name == AUDIOCRAFT else path.stem)


def _filled(codec: Codec, state: Mapping[str, Tensor], path: Path) -> Codec:
    """Load tensors, which must be exactly the codec's own. A codec on the meta device is allocated after they are checked."""
    wanted = {name: tuple(tensor.shape) for name, tensor in codec.state_dict().items()}
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise CheckpointError(f"{path}: lacks {name}")
        if name not in wanted:
            raise CheckpointError(f"{path}: {name} is not part of this model")
        if tuple(state[name].shape) != wanted[name]:
            raise CheckpointError(f"{path}: {name} must be {list(wanted[name])}, got {list(state[name].shape)}")
        if not state[name].is_floating_point():
            raise CheckpointError(f"{path}: {name} must be of floating-point numbers, got {state[name].dtype}")
    filled = Codec(codec.config) if next(codec.parameters()).is_meta else codec
    filled.load_state_dict(state)
    return filled
