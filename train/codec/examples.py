"""Validation clips as files, to listen to during a run."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch
from torch import Tensor

from ...codec.model import Codec

EXAMPLES = 2  # clips of each group


@torch.no_grad()
def write_examples(codec: Codec, clips: dict[str, Tensor], folder: Path) -> None:
    """Write the first validation clips of each group: original, and decoded at the highest bitrate and at a quarter of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for group, audio in clips.items():
        audio = audio[:EXAMPLES]
        codes = codec.encode(audio)
        versions = {"original": audio}
        for k in (max(1, codec.config.n_codebooks // 4), codec.config.n_codebooks):
            versions[f"{k}-codebooks"] = codec.decode(codes[:, :k], audio.shape[-1])
        for name, rows in versions.items():
            for i, row in enumerate(rows):
                soundfile.write(folder / f"{group}-{i}-{name}.flac", row[0].clamp(-1, 1).numpy(), codec.sample_rate)
