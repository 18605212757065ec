"""Which decoder makes the audio of a codec's tokens: its own, a multi-band diffusion that ships with it, or one of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checkpoints import BUNDLED
from ..errors import CheckpointError
from ..model import Codec
from .decoder import DEFAULT_STEPS, MultiBandDiffusion, Progress
from .flow import FlowDecoder
from .flow_file import load_flow

CONV, MBD = "conv", "mbd"
BUNDLED_FILE = "mbd.safetensors"
WINDOW_SECONDS = 10.0  # of published decoders, whose memory would grow with the signal otherwise
EVERYTHING = 1 << 40  # frames


def with_decoder(
    codec: Codec, decoder: str | Path = MBD, steps: int | None = None, seed: int = 0, progress: Progress | None = None
) -> Codec:
    """The same codec with another decoder; encoder and codebooks are shared.

    `decoder` is "conv" for the codec's own, "mbd" for the diffusion decoder that ships with it, or a file: one of
    `ecdc train mbd`, or a published multi-band diffusion (.th, .pt). `steps` of its sampler are its default where not
    given, `seed` decides its noise; `progress` is told of every call of a published network. Raises CheckpointError, in
    one line, for files that are none or belong to other tokens, ValueError for a codec that they do not fit.
    """
    if decoder == CONV:
        return codec
    path = _bundled(codec) if decoder == MBD else Path(decoder)
    made = _flow(codec, path, steps, seed) if _is_flow(path) else _published(codec, path, steps, seed, progress)
    return codec.with_decoder(made)


def _bundled(codec: Codec) -> Path:
    path = BUNDLED / codec.config.name / BUNDLED_FILE
    # A name only: that of a codec comes out of its file, and must not lead elsewhere.
    if path.parent.parent.resolve() != BUNDLED.resolve() or not path.exists():
        raise CheckpointError(f"{codec.config.name}: no diffusion decoder ships with this model: name a file of one")
    return path


def _is_flow(path: Path) -> bool:
    """Whether a file is one of `save_flow`; others are left to their own readers."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "config" not in (file.metadata() or {})
    except (OSError, SafetensorError):
        return True  # whose reader tells what is wrong


def _flow(codec: Codec, path: Path, steps: int | None, seed: int) -> FlowDecoder:
    flow, config, first = load_flow(path, codec.token_space), codec.config, codec.decoder
    if (flow.config.hop_length, flow.config.dimension) != (config.hop_length, config.dimension) or config.channels != 1:
        raise CheckpointError(f"{path}: its frames are not those of {config.name}")
    return FlowDecoder(first, flow, steps, seed, codec.reach)  # type: ignore[arg-type]


def _published(codec: Codec, path: Path, steps: int | None, seed: int, progress: Progress | None) -> WholeDecoder:
    model = MultiBandDiffusion.load(path)
    model._check_codec(codec)
    return WholeDecoder(codec, model, DEFAULT_STEPS if steps is None else steps, seed, progress)


@dataclass
class _Waiting:
    """Latents [B, D, t] so far."""

    parts: list[Tensor]


class WholeDecoder(nn.Module):
    """A published diffusion decoder in a codec's place.

    Its networks see all that a window holds, in both directions: no sample is made before the last frame is there.
    """

    reach = EVERYTHING, EVERYTHING

    def __init__(self, codec: Codec, model: MultiBandDiffusion, steps: int, seed: int, progress: Progress | None) -> None:
        super().__init__()
        self.model = model
        self._codec = [codec]  # out of sight of nn.Module: it is another's
        self._options: dict[str, Any] = {"steps": steps, "seed": seed, "progress": progress}

    def initial_state(self, batch_size: int, first_frame: int = 0) -> _Waiting:
        """Nothing waits before the first frame, which must be that of the signal."""
        if first_frame:
            raise ValueError("this decoder needs the whole signal")
        return _Waiting([])

    def forward(self, latents: Tensor, state: _Waiting | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal [B, D, T] -> [B, C, T * hop], or keep the next block of one until the last."""
        parts = [*(state.parts if state else ()), latents]
        if state is not None:
            state.parts = parts
        if not last:
            return latents.new_zeros(len(latents), self.model.channels, 0)
        codec, whole = self._codec[0], torch.cat(parts, dim=-1)
        return self.model.decode(whole, codec, window_seconds=WINDOW_SECONDS, **self._options)
