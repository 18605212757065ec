"""Models by name: those that come along, folders of ours, and EnCodec as others publish it.

Files are data: safetensors, JSON, and pickles of which nothing is run (pickles.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..format.files import whole_file
from .config import CodecConfig, ConfigError
from .convert import convert
from .errors import CheckpointError
from .model import Codec
from .pickles import read_pickle
from .published import ENCODEC_24KHZ, ENCODEC_48KHZ, PUBLISHED, audiocraft_config, hugging_face_config

BUNDLED = Path(__file__).parent / "weights"
CONFIG, WEIGHTS, AUDIOCRAFT = "config.json", "model.safetensors", "compression_state_dict.bin"

__all__ = ["CheckpointError", "load", "load_bundled", "models", "save"]


def load(name_or_path: str | os.PathLike[str], config: CodecConfig | None = None, reference: bool = False) -> Codec:
    """A codec, ready for inference.

    `name_or_path` is a bundled model's name, a folder or file (of ours, of EnCodec's original
    release, of audiocraft, or of Hugging Face), or the name of a model on the Hugging Face
    hub; "encodec_24khz", "encodec_48khz" and "encodec_32khz" are looked up there too.
    `config` is for original files whose shape is neither of the published ones. `reference`
    is as in `Codec.ready`. Raises CheckpointError, with one line, where there is no model.
    """
    path = _locate(name_or_path)
    if path.is_dir():
        path = next((path / name for name in (WEIGHTS, AUDIOCRAFT) if (path / name).exists()), path / WEIGHTS)
    codec, state = (_from_safetensors if path.suffix == ".safetensors" else _from_pickle)(path, config)
    _fill(codec, state, path)
    return codec.ready(reference)


def load_bundled(name: str) -> Codec:
    """The bundled codec of a name that a file gave. Raises CheckpointError for any other name.

    Files come from strangers: what they name is never opened as a path, nor looked for on the hub.
    """
    if name not in _bundled():
        known = ", ".join(_bundled())
        raise CheckpointError(f"its codec {name[:80]!r} is not bundled (bundled: {known}): give the codec with --model")
    return load(name)


def save(codec: Codec, folder: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
    """Write a codec as config.json and model.safetensors, its numbers rounded to `dtype`; `load` reads the folder.

    A rounded codec is another one, with its own token space: what is loaded computes in
    float32 or float64 with exactly the numbers that the file holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: (v.to(dtype) if v.is_floating_point() else v).cpu().contiguous() for k, v in codec.state_dict().items()}
    with whole_file(folder / WEIGHTS) as partial:
        save_file(state, partial)
    (folder / CONFIG).write_text(json.dumps(codec.config.to_dict(), indent=2) + "\n")


def models() -> list[dict[str, Any]]:
    """The bundled models: name, sample_rate in Hz, channels, legal kbps, number of parameters."""
    rows = []
    for name in _bundled():
        config = _our_config(BUNDLED / name)
        with safe_open(BUNDLED / name / WEIGHTS, "pt") as file:
            n_parameters = sum(torch.Size(file.get_slice(key).get_shape()).numel() for key in file.keys())  # noqa: SIM118
        rows.append(
            {
                "name": name,
                "sample_rate": config.sample_rate,
                "channels": config.channels,
                "kbps": list(config.bitrates_kbps),
                "parameters": n_parameters,
            }
        )
    return rows


def _bundled() -> list[str]:
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}"))


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    """The file or folder that a name stands for, fetched from the hub if need be."""
    name = str(name_or_path)
    if name in _bundled():
        return BUNDLED / name
    if Path(name).exists():
        return Path(name)
    if name in PUBLISHED:
        return _fetch(f"facebook/{name}")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and isinstance(name_or_path, str):
        return _fetch(name)
    known = ", ".join([*_bundled(), *PUBLISHED])
    raise CheckpointError(f"{name}: no such model (known: {known}; or name a folder, a file or owner/model on the hub)")


def _fetch(repository: str) -> Path:
    """The weights of a model on the hub, with its configuration beside them: downloaded, unless that was done before."""
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    except ImportError as error:
        raise CheckpointError(f"{repository}: not here, and the hub needs huggingface_hub (pip install 'ecdc[hub]')") from error

    def fetched(name: str) -> Path:
        cached = try_to_load_from_cache(repository, name)
        return Path(cached if isinstance(cached, str) else hf_hub_download(repository, name))

    try:
        with _quiet("huggingface_hub"):
            values = read_json(fetched(CONFIG))
            is_codec = "architecture" in values or values.get("model_type") == "encodec"
            return fetched(WEIGHTS if is_codec else AUDIOCRAFT)  # a MusicGen has its codec beside it
    except CheckpointError:
        raise
    except Exception as error:  # of the network, the hub or its cache: dozens of kinds
        raise CheckpointError(f"{repository}: not here, and the hub does not give it: {_reason(error)}") from error


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's warnings to itself: what matters comes as an exception."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _from_safetensors(path: Path, config: CodecConfig | None) -> tuple[Codec, dict[str, Tensor]]:
    """Our layout or Hugging Face's, with a config.json beside the weights."""
    values = read_json(path.parent / CONFIG)
    is_ours = "architecture" in values
    if config is None:
        config = _our_config(path.parent) if is_ours else hugging_face_config(values, path.parent.resolve().name)
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from error
    codec = Codec(config)
    return codec, state if is_ours else convert(state, codec, path)


def _from_pickle(path: Path, config: CodecConfig | None) -> tuple[Codec, dict[str, Tensor]]:
    """The original release's bare state dict, or audiocraft's package."""
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no state dict")
    if "pretrained" in content:
        raise CheckpointError(f"{path}: only points to {content['pretrained']!r}, load that instead")
    state = content
    if "best_state" in content:
        state = content["best_state"]
        state = state.get("model", state) if isinstance(state, dict) else {}
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if config is None:
        config = _audiocraft_config(content, path) if "best_state" in content else _original_config(state, path)
    codec = Codec(config)
    return codec, convert(state, codec, path)


def _original_config(state: Mapping[str, Tensor], path: Path) -> CodecConfig:
    """Which of the two original models a bare state dict is, told by its normalization."""
    first = "encoder.model.0.conv."
    if f"{first}conv.weight_g" in state:
        return ENCODEC_24KHZ
    if f"{first}norm.weight" in state:
        return ENCODEC_48KHZ
    raise CheckpointError(f"{path}: neither encodec_24khz nor encodec_48khz, nor a package of audiocraft")


def audiocraft_values(values: Any, path: Path) -> dict[str, Any]:
    """audiocraft's xp.cfg as tables: text in exported packages, tables in checkpoints. Raises CheckpointError."""
    if isinstance(values, str):
        try:
            import yaml
        except ImportError as error:
            raise CheckpointError(f"{path}: reading its configuration needs PyYAML (pip install pyyaml)") from error
        try:
            values = yaml.safe_load(values)
        except yaml.YAMLError as error:
            raise CheckpointError(f"{path}: xp.cfg is not plain YAML: {_reason(error)}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: lacks xp.cfg, which describes the model")
    return values


def _audiocraft_config(content: Mapping[str, Any], path: Path) -> CodecConfig:
    values = audiocraft_values(content.get("xp.cfg"), path)
    return audiocraft_config(values, path.resolve().parent.name if path.name == AUDIOCRAFT else path.stem)


def _our_config(folder: Path) -> CodecConfig:
    try:
        return CodecConfig.from_dict(read_json(folder / CONFIG))
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises CheckpointError where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: must hold a JSON object")
    return values


def _fill(codec: Codec, state: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a codec whose every tensor they must be."""
    wanted = {name: tuple(tensor.shape) for name, tensor in codec.state_dict().items()}
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise CheckpointError(f"{path}: lacks {name}")
        if name not in wanted:
            raise CheckpointError(f"{path}: {name} is not part of this model")
        if tuple(state[name].shape) != wanted[name]:
            raise CheckpointError(f"{path}: {name} must be {list(wanted[name])}, got {list(state[name].shape)}")
    codec.load_state_dict(state)


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
