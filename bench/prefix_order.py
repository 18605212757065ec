"""Find the best order of level and shape codebooks: decode a split codec from each pair of numbers, at equal bitrates.

    ecdc bench prefix-order runs/nano-48k/model-020000 --packed runs/audio/packed48

The model must have been trained with `free_order`. Otherwise it can only decode the pairs of its own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from ..codec.audio import resample_all
from ..codec.quantize.split import SplitVQ, join_latents
from .codecs.base import fit_length
from .corpus import Clip, packed
from .designs import NAMES, codec_of, measures
from .rows import clip_options, jobs_option, rows_of_clips

KEYS = ("zimtohrli", "pesq", "mel", "si_sdr")
TOTALS = (1, 2, 3, 4, 6, 8, 12, 24)  # codebooks


def pairs(quantizer: SplitVQ) -> list[tuple[int, int]]:
    """Return the possible (level, shape) numbers of codebooks, for every total in TOTALS."""
    n_levels, n_shape = len(quantizer.level_places), len(quantizer.shape.codebooks)
    return [(k, total - k) for total in TOTALS for k in range(1, n_levels + 1) if 0 <= total - k <= n_shape]


def latents(quantizer: SplitVQ, codes: Tensor, n_levels: int, n_shape: int) -> Tensor:
    """Return the decoder's input from the first codebooks of each kind: codes [B, K, T] of all codebooks -> [B, ..., T]."""
    levels = list(quantizer.level_places)
    others = [place for place in range(quantizer.n_codebooks) if place not in levels]
    shape = quantizer.shape.decode(codes[:, others[:n_shape]])
    found = quantizer.levels.entries(codes[:, levels[:n_levels]])
    entries = found.new_zeros(codes.shape[0], len(levels), *found.shape[2:])
    entries[:, :n_levels] = found
    flags = torch.tensor([[n_levels / len(levels), n_shape / len(others)]])
    return join_latents(shape, entries, flags.expand(codes.shape[0], -1))


@torch.no_grad()
def compare(clip: Clip, name: str) -> list[dict[str, Any]]:
    """Decode a clip from every pair of numbers and return one row for each."""
    codec = codec_of(name)
    quantizer = codec.quantizer
    if not isinstance(quantizer, SplitVQ):
        raise click.ClickException(f"{name}: has no level codebooks")
    wav = resample_all(clip.audio[None], clip.sample_rate, codec.sample_rate)
    codes = codec.encode(torch.from_numpy(wav)[None])
    rows = []
    for n_levels, n_shape in pairs(quantizer):
        decoded = codec.decoder(latents(quantizer, codes, n_levels, n_shape))[0, :, : wav.shape[1]].numpy()
        audio = resample_all(decoded, codec.sample_rate, clip.sample_rate)[0]
        audio = fit_length(audio, len(clip.audio))
        figures = measures(clip, audio, float(codec.config.frame_rate), KEYS)
        rows.append({"clip": clip.name, "levels": n_levels, "shape": n_shape, **figures})
    return rows


def markdown(rows: Sequence[dict[str, Any]], kbps_per_codebook: float) -> str:
    """Return a table with a row of means for each pair of numbers."""
    keys = [key for key in NAMES if any(row.get(key) is not None for row in rows)]
    lines = ["| kbps | levels | shape | " + " | ".join(NAMES[key] for key in keys) + " |", "|---:" * (3 + len(keys)) + "|"]
    for pair in dict.fromkeys((row["levels"], row["shape"]) for row in rows):
        own = [row for row in rows if (row["levels"], row["shape"]) == pair]
        found = {key: [row[key] for row in own if row[key] is not None] for key in keys}
        cells = [f"{np.mean(found[key]):.2f}" if found[key] else "" for key in keys]
        lines.append(f"| {sum(pair) * kbps_per_codebook:g} | {pair[0]} | {pair[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.argument("codec")
@clip_options(seconds=4.0, per_group=3)
@jobs_option
def main(codec: str, folder: Path, rate: int, seconds: float, per_group: int, jobs: int) -> None:
    """Compare orders of level and shape codebooks, and print a table."""
    clips = list(packed(folder, rate, seconds, per_group))
    rows = rows_of_clips(partial(compare, name=codec), clips, jobs)
    click.echo(markdown(rows, float(codec_of(codec).config.kbps_per_codebook)))


if __name__ == "__main__":
    main()
