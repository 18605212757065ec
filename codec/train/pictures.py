"""What a person can inspect during a run: curves of its losses, and validation audio."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from ..model import Codec
from .metrics import read_rows

EXAMPLES = 2  # clips of each group
NO_LOSSES = ("step", "seconds", "valid", "gradient_norm", "columns_per_second")
CODEC_PANELS = ("mel", "mel loss"), ("si_sdr", "SI-SDR (dB)")


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


def draw_curves(folder: Path, panels: Sequence[tuple[str, str]] = CODEC_PANELS, groups: Sequence[str] = ("mean",)) -> None:
    """Draw metrics.jsonl into curves.png: losses over steps, and validation per number of codebooks.

    `panels` are (name, title) pairs of validated values. Their keys look like "mean/4/mel" (4 codebooks) or "alone/first
    codebook/nats"; the first part is one of `groups`.
    Does nothing if matplotlib is not installed (extra `bench`).
    """
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    rows = read_rows(folder)
    names = [name for name in rows[-1] if name not in NO_LOSSES]
    figure = Figure(figsize=(12, 4), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(panels))
    for name in names:
        losses.plot([row["step"] for row in rows if name in row], [row[name] for row in rows if name in row], label=name)
    losses.set_yscale("log")
    losses.set_title("training losses")
    valid = [row for row in rows if "valid" in row]
    for axes, (name, title) in zip(others, panels, strict=True):
        _draw_validation(axes, valid, name, groups)
        axes.set_title(f"validation: {title}")
    for axes in (losses, *others):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(folder / "curves.png", dpi=110)


def _draw_validation(axes: Any, rows: list[dict[str, Any]], name: str, groups: Sequence[str]) -> None:
    for key in rows[-1]["valid"]:
        group, _, rest = key.partition("/")
        k, _, found = rest.partition("/")
        if group in groups and found == name:
            what = f"{k} codebooks" if k.isdigit() else k
            label = what if len(groups) == 1 else f"{group}, {what}"
            axes.plot([row["step"] for row in rows], [row["valid"].get(key) for row in rows], marker=".", label=label)
