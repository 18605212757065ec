"""Save and load flows: one safetensors file with the network's configuration and the token space that it decodes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...format.files import atomic_path
from ..config import ConfigError
from ..errors import CheckpointError
from .checkpoint import fill
from .flow import FlowConfig, MultiBandFlow

MAX_BYTES = 1 << 30


def save_flow(
    flow: MultiBandFlow, token_space: bytes, path: str | os.PathLike[str], dtype: torch.dtype = torch.float16
) -> None:
    """Write a flow for the tokens of `token_space` (SHA-256 of the codebooks), with parameters rounded to `dtype`."""
    about = {"flow": json.dumps(flow.config.to_dict()), "token_space": token_space.hex()}
    with atomic_path(path) as partial:
        save_file({name: value.to(dtype).contiguous() for name, value in flow.state_dict().items()}, partial, metadata=about)


def load_flow(path: str | os.PathLike[str], token_space: bytes) -> MultiBandFlow:
    """Read a flow; raises CheckpointError, in one line, if the file is not a flow or is for other tokens."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: more than {MAX_BYTES} bytes")
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        config = FlowConfig.from_dict(json.loads(about["flow"]))
        n_held = sum(value.numel() for value in state.values())
        if n_held != config.n_parameters:  # checked before anything larger than the file is allocated
            raise CheckpointError(f"{path}: its networks need {config.n_parameters} parameters, the file holds {n_held}")
        flow = MultiBandFlow(config)
        fill(flow, state, path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except CheckpointError:
        raise
    except (SafetensorError, KeyError, ValueError, ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a diffusion decoder of ecdc: {' '.join(str(error).split())[:200]}") from error
    if about.get("token_space") != token_space.hex():
        raise CheckpointError(
            f"{path}: decodes the tokens {about.get('token_space')}, not those of this model ({token_space.hex()})"
        )
    return flow.eval().requires_grad_(False)
