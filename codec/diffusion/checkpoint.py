"""Files of diffusion decoders: our own, and the published ones, whose pickled configurations are read but never run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn as nn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...format.files import atomic_path
from ..config import ConfigError
from ..encodec_configs import Lookup
from ..errors import CheckpointError
from ..pickles import read_pickle
from .config import DiffusionConfig

# Our key: (key in audiocraft's configuration, default if it is absent there).
UNET_KEYS: dict[str, tuple[str, Any]] = {
    "hidden": ("hidden", 24),
    "depth": ("depth", 3),
    "growth": ("growth", 2.0),
    "max_width": ("max_channels", 10_000),
    "kernel_size": ("kernel", 4),
    "stride": ("stride", 2),
    "norm_groups": ("norm_groups", 4),
    "res_blocks": ("res_blocks", 1),
    "dropout": ("dropout", 0.0),
    "times_everywhere": ("emb_all_layers", False),
    "condition_dim": ("codec_dim", None),
}
SWITCHES = ("transformer", "bilstm", "cross_attention")
SCHEDULE_KEYS: dict[str, tuple[str, Any]] = {
    "n_steps": ("num_steps", 1000),
    "first_beta": ("beta_t0", 1e-4),
    "last_beta": ("beta_t1", 0.02),
    "power": ("beta_exp", 1.0),
    "clip": ("clip", 5.0),
    "rescale": ("rescale", 1.0),
    "noise_scale": ("noise_scale", 1.0),
}
PROCESSOR_KEYS: dict[str, tuple[str, Any]] = {
    "n_bands": ("n_bands", 8),
    "power": ("power_std", 1.0),
    "n_fit": ("num_samples", 10_000),
}
MULTI_BAND = "multi_band_processor"
MAX_BANDS = 64


def read(path: Path) -> tuple[DiffusionConfig, dict[str, Tensor]]:
    """Read the configuration and the tensors (by our names) of a file of ours (.safetensors) or of a published one.

    Raises CheckpointError, with one line, for other files. The tensors are not yet compared with
    the configuration: see `fill`.
    """
    return _read_ours(path) if path.suffix == ".safetensors" else _read_published(path)


def write(path: Path, config: DiffusionConfig, state: Mapping[str, Tensor]) -> None:
    """Write a file of ours: tensors, and the configuration as JSON in the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, {"config": json.dumps(config.to_dict())})


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a module on the meta device; they must be exactly the module's tensors.

    So only what the file really holds is allocated. Raises CheckpointError.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise CheckpointError(f"{path}: lacks {name}")
        if name not in wanted:
            raise CheckpointError(f"{path}: {name} is not part of this model")
        tensor = state[name]
        if tuple(tensor.shape) != wanted[name]:
            raise CheckpointError(f"{path}: {name} must be {list(wanted[name])}, got {list(tensor.shape)}")
        # A tensor with strides of 0 can have any size without a byte in the file.
        if not tensor.is_floating_point() or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise CheckpointError(f"{path}: {name} is not a plain array of floating-point numbers")
    module.load_state_dict({name: tensor.float().contiguous() for name, tensor in state.items()}, assign=True)


def _read_ours(path: Path) -> tuple[DiffusionConfig, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            values = json.loads((file.metadata() or {}).get("config", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return DiffusionConfig.from_dict(values), state
    except (OSError, SafetensorError, ValueError) as error:  # ConfigError is a ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise CheckpointError(f"{path}: {reason}") from error


def _read_published(path: Path) -> tuple[DiffusionConfig, dict[str, Tensor]]:
    """Read `mbd_musicgen_32khz.th` or `mbd_comp_{2,4,8}.pt`, which hold their bands under the keys 0, 1, ..."""
    content = read_pickle(path)
    if not isinstance(content, dict) or not {"sample_rate", "n_bands"} <= content.keys():
        raise CheckpointError(f"{path}: not a multi-band diffusion model (no sample_rate, or no n_bands)")
    n_bands = content["n_bands"]
    if type(n_bands) is not int or not 1 <= n_bands <= MAX_BANDS:
        raise CheckpointError(f"{path}: n_bands must be 1..{MAX_BANDS}, got {n_bands!r}")
    bands: list[dict[str, Any]] = []
    state: dict[str, Tensor] = {}
    for i in range(n_bands):
        where, band = f"{path}: band {i}", content.get(i)
        if not isinstance(band, dict) or not isinstance(band.get("cfg"), dict):
            raise CheckpointError(f"{where}: lacks its configuration")
        bands.append(_band(band["cfg"], where))
        for kind, key in (("unet", "model_state"), ("processor", "processor_state")):
            state |= _tensors(band.get(key), f"bands.{i}.{kind}.", f"{where}: {key}")
    try:
        return DiffusionConfig.from_dict({"sample_rate": content["sample_rate"], "bands": bands}), state
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _tensors(values: Any, prefix: str, where: str) -> dict[str, Tensor]:
    """Return a state dict by our names. In the oldest files, the names of attention lack one level."""
    if not isinstance(values, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in values.items()):
        raise CheckpointError(f"{where} must be a state dict")
    return {prefix + re.sub(r"(self_attn|cross_attention)\.(in_proj|out_proj)", r"\1.mha.\2", k): v for k, v in values.items()}


def _band(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Convert audiocraft's configuration of one band to ours. Wrong values are found later, by the strict reader."""
    cfg = Lookup(values, where)
    for table in ("schedule", "diffusion_unet"):
        if not isinstance(cfg.get(table), Mapping):
            raise CheckpointError(f"{where}: {table} must be a table")
    for path, wanted in {"schedule.repartition": "power", "schedule.n_bands": None}.items():
        if cfg.get(path, wanted) != wanted:
            raise CheckpointError(f"{where}: {path} must be {wanted!r}, got {cfg.get(path)!r}")
    unknown = sorted(set(cfg.get("diffusion_unet")) - {key for key, _ in UNET_KEYS.values()} - {*SWITCHES, "num_steps"})
    if unknown:
        raise CheckpointError(f"{where}: diffusion_unet.{unknown[0]} is not known")
    schedule = _values(cfg, "schedule", SCHEDULE_KEYS)
    schedule["clip"] = schedule["clip"] or None
    transformer, bilstm, cross = (bool(cfg.get(f"diffusion_unet.{key}", False)) for key in SWITCHES)
    if transformer and bilstm:
        raise CheckpointError(f"{where}: transformer and bilstm exclude each other")
    unet = _values(cfg, "diffusion_unet", UNET_KEYS) | {
        "channels": cfg.get("channels"),
        "n_steps": schedule["n_steps"],
        "bottleneck": "transformer" if transformer else "bilstm" if bilstm else "none",
        "cross_attention": cross and transformer,
    }
    is_used = cfg.get("processor.use", False) and cfg.get("processor.name", MULTI_BAND) == MULTI_BAND
    processor = _values(cfg, "processor", PROCESSOR_KEYS) if is_used else None
    return {"unet": unet, "schedule": schedule, "processor": processor}


def _values(cfg: Lookup, table: str, keys: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    return {ours: cfg.get(f"{table}.{theirs}", default) for ours, (theirs, default) in keys.items()}
