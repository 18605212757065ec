"""Curves of a run: its losses and validated values."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .metrics import read_rows

NO_LOSSES = ("step", "seconds", "valid", "gradient_norm", "columns_per_second")
CODEC_PANELS = ("mel", "mel loss"), ("si_sdr", "SI-SDR (dB)")


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
