"""Report results: means with confidence intervals, a Markdown table, and plots of quality over bitrate."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .metrics import metric

BOOTSTRAPS = 2000
Row = dict[str, Any]


def interval(values: np.ndarray, seed: int = 0) -> float:
    """Return half the width of the bootstrap 95 % interval of the mean over clips."""
    picks = np.random.default_rng(seed).integers(0, len(values), (BOOTSTRAPS, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return float(high - low) / 2


def summarize(rows: Sequence[Row], metrics: Sequence[str], kind: str | None = None) -> list[Row]:
    """Return one row per codec, in the order of `rows`: mean real kbps, and for each metric [mean, half interval] or None.

    With `kind`, only clips of that kind count. Means are over the clips for which the metric is defined; `n` counts all.
    """
    chosen = [row for row in rows if kind in (None, row["kind"]) and "kbps" in row]
    out = []
    for name in dict.fromkeys(row["codec"] for row in chosen):
        own = [row for row in chosen if row["codec"] == name]
        line: Row = {"codec": name, "family": own[0]["family"], "n": len(own)}
        line["kbps"] = round(float(np.mean([row["kbps"] for row in own])), 3)
        for key in metrics:
            values = np.array([row[key] for row in own if row.get(key) is not None])
            line[key] = [round(float(values.mean()), 4), round(interval(values), 4)] if len(values) else None
        out.append(line)
    return out


def heading(key: str) -> str:
    """Return a metric's name with an arrow in the direction of better values, and its unit."""
    m = metric(key)
    return f"{m.NAME} {'↑' if m.HIGHER_IS_BETTER else '↓'}" + (f" ({m.UNIT})" if m.UNIT else "")


def cell(value: Sequence[float] | None, n_clips: int) -> str:
    """Format a mean with half of its interval; a single clip has no interval."""
    if value is None:
        return "-"
    return f"{value[0]:.2f} ± {value[1]:.2f}" if n_clips > 1 else f"{value[0]:.2f}"


def markdown(summary: Sequence[Row], metrics: Sequence[str]) -> str:
    """Return a Markdown table: one line per codec, means ± half of their 95 % intervals, '-' if undefined."""
    shown = [key for key in metrics if any(line[key] for line in summary)]
    lines = ["| codec | real kbps | " + " | ".join(map(heading, shown)) + " |", "|---|---:" + "|---" * len(shown) + "|"]
    for line in summary:
        cells = [cell(line[key], line["n"]) for key in shown]
        kbps = f"{line['kbps']:.2f}" if line["kbps"] else "-"
        lines.append(f"| {line['codec']} | {kbps} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(rows: Sequence[Row]) -> str:
    """Return one paragraph: what was measured, on which machine, and how to read the numbers."""
    heard = [row for row in rows if "kbps" in row] or list(rows)
    clips = {row["clip"]: row["seconds"] for row in heard}
    widths = [row["bandwidth_hz"] / 1000 for row in heard]
    one = heard[0]
    return (
        f"{len(clips)} clips, {sum(clips.values()):.0f} s, mono at {one['reference_rate'] / 1000:g} kHz; reference bandwidth "
        f"{min(widths):g} to {max(widths):g} kHz. Real kbps are all bytes of the files; ± is half of the bootstrap 95 % "
        f"interval over clips. Seed {one['seed']}, commit {one['commit'].rstrip('+') or 'unknown'}, {one['device']}."
    )


def problems(rows: Iterable[Row]) -> list[str]:
    """Return one line per missing codec, missing metric, failed clip, or value that could not be measured."""
    lines: dict[str, None] = {}
    for row in rows:
        if row.get("missing"):
            lines[f"{row['codec']}: {row['problem']}"] = None
        elif "problem" in row:
            lines[f"{row['clip']}, {row['codec']}: {row['problem']}"] = None
        for key, why in row.get("why", {}).items():
            if why.startswith("needs "):
                lines[f"{metric(key).NAME}: {why}"] = None
            elif not metric(key).SPEECH_ONLY or row["kind"] == "speech":
                lines[f"{row['clip']}, {row['codec']}, {metric(key).NAME}: {why}"] = None
    return list(lines)


def unmeasured(rows: Iterable[Row], named_codecs: bool, named_metrics: bool) -> list[Row]:
    """Return the rows without the result that was asked for: of failed clips, and of what is named but not installed.

    The default codecs and metrics are those that are installed, so a missing one only counts if the user has named it.
    """

    def lacks(row: Row) -> bool:
        if "problem" in row:
            return named_codecs or not row.get("missing")
        return named_metrics and any(why.startswith("needs ") for why in row.get("why", {}).values())

    return [row for row in rows if lacks(row)]


def draw(summary: Sequence[Row], key: str) -> Any:
    """Plot the metric over real kbps: one line with intervals per family, anchors as dashed horizontal lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    points = [line for line in summary if line[key]]
    lines = [line for line in points if line["kbps"] and line["family"] != "PCM"]
    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    axes = figure.subplots()
    for i, family in enumerate(dict.fromkeys(line["family"] for line in lines)):
        own = sorted((line for line in lines if line["family"] == family), key=lambda line: line["kbps"])
        x, y, error = ([line["kbps"] for line in own], [line[key][0] for line in own], [line[key][1] for line in own])
        axes.errorbar(x, y, error, marker="osD^vPX"[i % 7], capsize=2, label=family, linewidth=2 if i == 0 else 1.2)
    _mark_levels(axes, [(line["codec"], line[key][0]) for line in points if line not in lines], bool(lines))
    axes.set_xscale("log")
    axes.set_xlabel("real bitrate (kbps, all bytes of the file)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    low, high = axes.get_xlim()
    axes.set_xticks([x for x in (0.75, 1.5, 3, 6, 12, 24, 48, 96) if low <= x <= high])
    axes.set_xlim(low, high)
    axes.minorticks_off()
    axes.set_ylabel(heading(key))
    axes.grid(alpha=0.3)
    if lines:
        figure.legend(loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    return figure


def _mark_levels(axes: Any, levels: Sequence[tuple[str, float]], clip: bool) -> None:
    """Draw dashed lines for anchors; with `clip`, only those near the codecs' range, so that the range is not compressed."""
    low, high = axes.get_ylim()
    reach = 0.35 * (high - low)
    shown = [(name, y) for name, y in levels if not clip or low - reach < y < high + reach]
    last = -np.inf
    for name, y in sorted(shown, key=lambda level: level[1]):
        axes.axhline(y, linestyle="--", linewidth=0.8, color="0.55")
        if y - last > 0.05 * (high - low):  # else the labels would overlap
            axes.annotate(
                name, (0.99, y), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8, color="0.35"
            )
            last = y


def plots(rows: Sequence[Row], metrics: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Draw every metric into `folder` as PNG and SVG; return (caption, SVG text) for each."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for key in metrics:
        kind = "speech" if metric(key).SPEECH_ONLY else None
        summary = summarize(rows, [key], kind)
        if not any(line[key] for line in summary):
            continue
        n_clips = len({row["clip"] for row in rows if row.get(key) is not None})
        title = f"{metric(key).NAME}: mean of {n_clips} clips, bootstrap 95 % intervals"
        figure = draw(summary, key)
        figure.savefig(folder / f"{key}.png", dpi=130)
        svg = io.StringIO()
        with rc_context({"svg.hashsalt": key}):  # else the element ids differ between runs
            figure.savefig(svg, format="svg", metadata={"Date": None})
        (folder / f"{key}.svg").write_text(svg.getvalue())
        out.append((title, svg.getvalue()[svg.getvalue().index("<svg") :]))
    return out
