"""The bundled models: their names, folders and properties. Needs no torch."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from .config import CodecConfig, ConfigError
from .default_model import DEFAULT_MODEL
from .errors import CheckpointError

BUNDLED = Path(__file__).parent / "weights"
CONFIG, WEIGHTS, DIFFUSION = "config.json", "model.safetensors", "mbd.safetensors"


def bundled_names() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}"))


def models() -> list[dict[str, Any]]:
    """List the bundled models.

    Keys: name, is_default, sample_rate in Hz, channels, frame_rate in Hz, codebooks (the most of a stream), codebook_size,
    legal kbps, and parameters (their number).
    """
    from safetensors import safe_open

    rows = []
    for name in bundled_names():
        config = read_config(BUNDLED / name)
        with safe_open(BUNDLED / name / WEIGHTS, "np") as file:
            n_parameters = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        rows.append(
            {
                "name": name,
                "is_default": name == DEFAULT_MODEL,
                "sample_rate": config.sample_rate,
                "channels": config.channels,
                "frame_rate": float(config.frame_rate),
                "codebooks": config.n_codebooks,
                "codebook_size": config.codebook_size,
                "kbps": list(config.bitrates_kbps),
                "parameters": n_parameters,
            }
        )
    return rows


def diffusion_file(name: str) -> Path:
    """Return the file of the bundled diffusion decoder for a model; raises CheckpointError if it has none.

    The name comes from a file: it must be a plain name that does not lead to another folder.
    """
    path = BUNDLED / name / DIFFUSION
    if path.parent.parent.resolve() != BUNDLED.resolve() or not path.exists():
        having = ", ".join(sorted(p.parent.name for p in BUNDLED.glob(f"*/{DIFFUSION}"))) or "none"
        advice = "leave --decoder out, give the file of one, or encode with a model that has one"
        raise CheckpointError(f"{name}: no diffusion decoder is bundled for this model; {advice} (--model {having})")
    return path


def check_bundled(name: str) -> None:
    """Raise CheckpointError unless a name, which comes from a file, is that of a bundled codec.

    Files are not trusted: a name in them is never opened as a path, nor looked up on the hub.
    """
    if name not in bundled_names():
        known = ", ".join(bundled_names())
        raise CheckpointError(f"its codec {name[:80]!r} is not bundled (bundled: {known}): give the codec with --model")


def check_exists(name_or_path: str | os.PathLike[str]) -> None:
    """Raise CheckpointError, with the known names, unless a model is bundled, published, here, or perhaps on the hub."""
    from .encodec_configs import PUBLISHED

    name, known = str(name_or_path), [*bundled_names(), *PUBLISHED]
    is_on_hub = isinstance(name_or_path, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name)
    if not is_on_hub and name not in known and not Path(name).exists():
        wanted = f"known: {', '.join(known)}; or give a folder, a file or owner/model on the hub"
        raise CheckpointError(f"{name}: no such model ({wanted})")


def read_config(folder: Path) -> CodecConfig:
    """Return the configuration in a folder of ours; raises CheckpointError."""
    try:
        return CodecConfig.from_dict(read_json(folder / CONFIG))
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises CheckpointError if there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: must hold a JSON object")
    return values


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
