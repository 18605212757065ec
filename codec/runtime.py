"""Choose what runs a codec: onnxruntime if its graphs are here, otherwise torch, which is an extra."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..format.arguments import described, path_name
from ..format.errors import ArgumentError
from .bundled import BUNDLED, bundled_names, check_bundled, check_exists, diffusion_file
from .errors import EcdcError
from .light.codec import LightCodec
from .light.load import is_light, load_light
from .light.names import FLOW
from .protocols import Model
from .threads import settle_torch

RUNTIMES = "auto", "onnx", "torch"
TORCH_NAMES = {"torch", "torchaudio"}


class MissingTorch(EcdcError, ImportError):
    """PyTorch is needed and not installed; one line with the command that installs it."""


@contextlib.contextmanager
def torch_for(what: str) -> Iterator[None]:
    """Turn a failed import of torch into one line that says what needs it, and how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in TORCH_NAMES:
            raise
        raise MissingTorch(f"{what} needs PyTorch, which is not installed: pip install -e '.[torch]'") from None


def check_torch(what: str) -> None:
    """Raise MissingTorch if torch is not installed; `what` needs it."""
    with torch_for(what):
        import torch  # noqa: F401


def open_codec(name_or_path: str | os.PathLike[str], runtime: str = "auto", device: str = "cpu") -> Any:
    """Load a codec for a file to be encoded or decoded: a LightCodec, or a torch Codec.

    `runtime` "auto" takes onnxruntime on the CPU if the model's folder holds its graphs, "onnx" and "torch" insist.
    `device` is as in `checkpoints.load`, except that "auto" without torch is the CPU. Raises CheckpointError if there is no
    such model, MissingTorch if it needs torch, and ValueError if the device would give other codes.
    """
    if runtime not in RUNTIMES:
        raise ArgumentError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    if not isinstance(device, str):
        raise ArgumentError(f"device must be a name, got {described(device)}")
    path_name(name_or_path)
    folder, on_cpu = light_folder(name_or_path), not is_for_torch(device)
    if runtime == "onnx" and not on_cpu:
        raise ArgumentError(f"--device {device}: onnxruntime computes on the CPU here; use --runtime torch")
    if runtime != "torch" and on_cpu and folder is not None:
        return load_light(folder)
    if runtime == "onnx":
        check_exists(name_or_path)
        raise ArgumentError(f"{name_or_path}: has no graphs for onnxruntime; use --runtime torch, or ecdc export onnx")
    check_exists(name_or_path)
    with torch_for(
        f"the model {name_or_path}" if folder is None else f"--device {device}" if not on_cpu else "--runtime torch"
    ):
        from .checkpoints import load
        from .device import on_device
    settle_torch()
    return on_device(load(name_or_path), device, encoding=True)


def is_for_torch(device: str) -> bool:
    """Return True if a device is one of torch: a GPU, or "auto" where torch is installed and may find one."""
    return device != "cpu" and (device != "auto" or find_spec("torch") is not None)


def placed(codec: Any, device: str) -> Any:
    """Return a codec that decodes on a device, which must not compute the CPU's tokens. Raises ValueError if there is none."""
    if isinstance(codec, LightCodec) or not is_for_torch(device):
        return codec
    from .device import on_device

    return on_device(codec, device, encoding=False)


def with_decoder(
    codec: Any, decoder: str, steps: int | None = None, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Any:
    """Return a codec with another decoder: as choose_decoder.with_decoder, of either runtime.

    Raises MissingTorch if it needs torch, and otherwise what that function raises.
    """
    if decoder == "conv":
        return codec
    if isinstance(codec, LightCodec):
        if decoder == "mbd" and (codec.folder / FLOW).is_file():
            return codec.with_flow(steps, seed)
        if decoder == "mbd":
            diffusion_file(codec.config.name)  # raises if there is none, with or without torch
        codec = open_codec(codec.folder, "torch")
    with torch_for(f"--decoder {decoder}"):
        from .diffusion.choose_decoder import with_decoder as with_torch_decoder  # slow to import and rarely needed
    return with_torch_decoder(codec, decoder, steps, seed, progress)


def open_bundled(name: str, runtime: str = "auto", device: str = "cpu") -> Any:
    """Like `open_codec`, for a name that comes from a file: only bundled models. Raises CheckpointError for any other."""
    check_bundled(name)
    return open_codec(name, runtime, device)


def codec_of(model: Model | str | os.PathLike[str]) -> Model:
    """Return a codec as it is, and the shared codec of a name or path. Raises ArgumentError for anything else."""
    if isinstance(model, str | os.PathLike):
        return shared(path_name(model))
    if not hasattr(model, "config") or not hasattr(model, "token_space"):
        raise ArgumentError(f"a codec is needed, or the name of one, got {described(model)}")
    return model


@lru_cache(maxsize=4)
def shared(name_or_path: str) -> LightCodec | Any:
    """Like `open_codec`, but cached. The codec must not be changed."""
    return open_codec(name_or_path)


@lru_cache(maxsize=4)
def shared_bundled(name: str) -> LightCodec | Any:
    """Like `open_bundled`, but cached. The codec must not be changed."""
    return open_bundled(name)


def light_folder(name_or_path: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a model that onnxruntime can run, or None."""
    folder = BUNDLED / name_or_path if str(name_or_path) in bundled_names() else Path(name_or_path)
    return folder if is_light(folder) else None
