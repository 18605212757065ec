"""Choose the decoder of a codec: its own, the bundled multi-band diffusion decoder, or one from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...format.errors import ArgumentError
from ..bundled import diffusion_file
from ..errors import CheckpointError
from ..model import Codec
from ..modules.noise_hash import STREAM_FRAMES
from .decoder import DEFAULT_STEPS, MultiBandDiffusion, Progress
from .flow import FlowDecoder
from .flow_file import load_flow

CONV, MBD = "conv", "mbd"
WINDOW_SECONDS = 10.0  # for published decoders, whose memory would otherwise grow with the signal
EVERYTHING = 1 << 40  # frames


def with_decoder(
    codec: Codec, decoder: str | Path = MBD, steps: int | None = None, seed: int = 0, progress: Progress | None = None
) -> Codec:
    """Return the codec with another decoder; encoder and codebooks are shared.

    `decoder` is "conv" for the codec's own, "mbd" for the bundled diffusion decoder, or a file: one from `ecdc train mbd`, or a
    published multi-band diffusion (.th, .pt). `steps` of its sampler (None: the default); `seed` decides the noise; `progress`
    is called for every call of a published network. Raises CheckpointError, in one line, if the file is not a decoder or
    belongs to other tokens, and ValueError if it does not fit the codec.
    """
    if decoder == CONV:
        return codec
    path = diffusion_file(codec.config.name) if decoder == MBD else Path(decoder)
    made = _flow(codec, path, steps, seed) if _is_flow(path) else _published(codec, path, steps, seed, progress)
    return codec.with_decoder(made)


def _is_flow(path: Path) -> bool:
    """Return True if a file is one of `save_flow`; other files are left to their own readers."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "config" not in (file.metadata() or {})
    except (OSError, SafetensorError):
        return True  # its reader reports what is wrong


def _flow(codec: Codec, path: Path, steps: int | None, seed: int) -> FlowDecoder:
    flow, config, first = load_flow(path, codec.token_space), codec.config, codec.decoder
    if (flow.config.hop_length, flow.config.dimension) != (config.hop_length, config.dimension) or config.channels != 1:
        raise CheckpointError(f"{path}: it is for other frames than those of {config.name}")
    return FlowDecoder(first, flow, steps, seed)  # type: ignore[arg-type]


def _published(codec: Codec, path: Path, steps: int | None, seed: int, progress: Progress | None) -> WholeDecoder:
    model = MultiBandDiffusion.load(path)
    model._check_codec(codec)
    return WholeDecoder(codec, model, DEFAULT_STEPS if steps is None else steps, seed, progress)


@dataclass
class _Waiting:
    """Latents [B, D, t] received so far."""

    parts: list[Tensor]


class WholeDecoder(nn.Module):
    """A published diffusion decoder, used as a codec's decoder.

    Its networks see the whole window in both directions, so no sample is made before the last frame has arrived.
    """

    reach = EVERYTHING, EVERYTHING

    def __init__(self, codec: Codec, model: MultiBandDiffusion, steps: int, seed: int, progress: Progress | None) -> None:
        super().__init__()
        self.model = model
        self._codec = [codec]  # in a list, so that nn.Module does not register it as a submodule
        self._options: dict[str, Any] = {"steps": steps, "seed": seed, "progress": progress}

    def initial_state(self, batch_size: int, first_frame: int = 0) -> _Waiting:
        """Return an empty state. The first frame must be the first of the signal, in any stream of a file."""
        if first_frame % STREAM_FRAMES:
            raise ArgumentError("this decoder needs the whole signal")
        return _Waiting([])

    def forward(self, latents: Tensor, state: _Waiting | None = None, last: bool = True) -> Tensor:
        """Decode a whole signal [B, D, T] -> [B, C, T * hop]; blocks of a stream are collected until the last one."""
        parts = [*(state.parts if state else ()), latents]
        if state is not None:
            state.parts = parts
        if not last:
            return latents.new_zeros(len(latents), self.model.channels, 0)
        codec, whole = self._codec[0], torch.cat(parts, dim=-1)
        return self.model.decode(whole, codec, window_seconds=WINDOW_SECONDS, **self._options)
