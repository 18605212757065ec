"""Measure speech over networks that lose packets: live packets of ours beside Opus with its redundancy, at equal losses.

    ecdc bench loss --packed runs/audio/packed48 --model nano-24k --json FILE
    ecdc bench loss --packed runs/audio/packed48 --frames 1 --ours-only --json OTHER
    ecdc bench loss --rows FILE --rows OTHER --plot FILE.png

Rates count all bytes of the packets, without the headers of the network. Every codec loses the same stretches of time. Opus
knows the share of losses and adds its own redundancy; ours copy the coarse codes of earlier frames if asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..codec.audio import resample_all
from ..codec.config import SplitConfig
from ..codec.default_model import DEFAULT_MODEL
from ..codec.runtime import shared
from ..format.errors import ArgumentError
from ..live import Decoder, Encoder
from ..live.udp import Faults
from . import opus_packets
from .codecs.base import fit_length
from .corpus import Clip, bundled, packed
from .metrics import score
from .options import COUNT, KBPS, NEW_FILE, SECONDS
from .processor_name import processor_name
from .rows import jobs_option, json_option, read_json, rows_of_clips, write_json

TICK = 0.02  # seconds: losses are drawn for the whole network in ticks, and hit the packets sent in them
NAMES = {"zimtohrli": "Zimtohrli", "visqol": "ViSQOL", "visqol_speech": "ViSQOL, speech", "pesq": "PESQ", "stoi": "STOI"}

OPUS = "opus, twice the bytes", "opus, 16 kbps"
CHOICES = {  # (loss, burst): systems in the short table
    (0.0, 1.0): ("nano-48k, learned", *OPUS),
    (0.1, 1.0): ("nano-48k, learned", "nano-48k, copies", *OPUS),
    (0.2, 1.0): ("nano-48k, learned", "nano-48k, copies", *OPUS),
    (0.1, 3.0): ("nano-48k, learned", "nano-48k, copies", "nano-48k, more copies", *OPUS),
}


@dataclass(frozen=True)
class System:
    """One way to send speech: a codec of ours with its settings, or Opus at `kbps`."""

    name: str
    kbps: float
    model: str = ""  # empty: Opus
    frames: int = 2
    copies: int = 0
    copied_codebooks: int = 2
    concealment: str = "auto"


def lost_ticks(seconds: float, loss: float, burst: float, seed: int) -> np.ndarray:
    """Return which ticks lose what is sent in them, bool [n]."""
    faults = Faults(loss, burst, seed=seed)
    return np.array([faults.loses() for _ in range(int(seconds / TICK) + 100)])


def encoder_and_packets(clip: Clip, system: System, copies: int) -> tuple[Encoder, list[bytes]]:
    """Return the packets of a clip, and the encoder that made them."""
    codec = shared(system.model)
    wav = resample_all(clip.audio[None], clip.sample_rate, codec.sample_rate)
    encoder = Encoder(codec, system.kbps, system.frames, 1, copies, system.copied_codebooks)
    return encoder, encoder.push(wav, last=True)


def through_ours(
    clip: Clip, system: System, loss: float, lost: np.ndarray, sent: dict[System, Any]
) -> tuple[np.ndarray, float]:
    """Return the clip after our codec and the losses, and the kbps sent. `sent` keeps what was encoded for the clip."""
    codec, copies = shared(system.model), system.copies if loss else 0
    alike = replace(system, name="", copies=copies, copied_codebooks=system.copied_codebooks if copies else 0, concealment="")
    if alike not in sent:
        sent[alike] = encoder_and_packets(clip, system, copies)
    encoder, packets = sent[alike]
    decoder, parts = Decoder(codec, encoder.header, system.concealment), []
    seconds = system.frames * codec.config.hop_length / codec.sample_rate
    for i, packet in enumerate(packets):
        if not lost[int(i * seconds / TICK)]:
            parts.append(decoder.push(packet))
        elif not decoder.statistics.received:  # nobody tells a decoder that sound began before its first packet
            parts.append(decoder.conceal(system.frames))
    parts += [decoder.push(encoder.end), decoder.finish()]
    audio = resample_all(np.concatenate(parts, axis=1), codec.sample_rate, clip.sample_rate)[0]
    audio = fit_length(audio, len(clip.audio))
    return audio, 8 * sum(map(len, packets)) / 1000 / clip.seconds


def through_opus(
    clip: Clip, system: System, loss: float, lost: np.ndarray, sent: dict[System, Any]
) -> tuple[np.ndarray, float]:
    """Return the clip after Opus and the losses, and the kbps sent."""
    packets, delay = opus_packets.encode(clip.audio, clip.sample_rate, system.kbps, loss)
    kept = [None if lost[int(i * opus_packets.FRAME_SECONDS / TICK)] else packet for i, packet in enumerate(packets)]
    audio = opus_packets.decode(kept, clip.sample_rate, delay, len(clip.audio))
    return audio, 8 * sum(map(len, packets)) / 1000 / clip.seconds


def measure(
    clip: Clip, systems: Sequence[System], channels: Sequence[tuple[float, float]], seeds: int, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Send a clip by every system through every channel (loss, burst); one row for each, averaged over seeds."""
    rows: list[dict[str, Any]] = []
    sent: dict[System, Any] = {}
    for system in systems:
        through: Callable[..., tuple[np.ndarray, float]] = through_ours if system.model else through_opus
        for loss, burst in channels:
            found = []
            for seed in range(seeds if loss else 1):
                lost = lost_ticks(clip.seconds, loss, burst, 1000 * seed + len(clip.name))
                audio, kbps = through(clip, system, loss, lost, sent)
                scores = {key: score(key, clip.audio, audio, clip.sample_rate, "speech")[0] for key in keys}
                found.append({"kbps": kbps, **scores})
            means = {key: mean([row[key] for row in found]) for key in found[0]}
            rows.append({"clip": clip.name, "system": system.name, "loss": loss, "burst": burst, **means})
    return rows


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def check_metrics(keys: Sequence[str]) -> None:
    """Raise ClickException for a metric whose package is not installed, before anything is measured."""
    noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 10
    for key in keys:
        _, problem = score(key, noise, noise, 24_000, "speech")
        if problem.startswith("needs "):
            raise click.ClickException(f"{key}: {problem}; install it, or choose others with --metric")


def default_systems(model: str, kbps: float, frames: int, ours_only: bool = False) -> list[System]:
    """Return ours with and without copies and concealment, and Opus at about the same bytes and at twice as many."""
    name, config = Path(model).name, shared(model).config
    best = "learned" if isinstance(config.architecture, SplitConfig) else "likely"
    methods = ("repeat", "learned") if best == "learned" else ("silence", "repeat", best)
    ours = [System(f"{name}, {method}", kbps, model, frames, concealment=method) for method in methods]
    copies = System(f"{name}, copies", kbps, model, frames, copies=2 * frames)
    more = System(f"{name}, more copies", kbps, model, frames, copies=4 * frames, copied_codebooks=3)
    theirs = [System("opus", 1.2 * kbps), System("opus, twice the bytes", 2.4 * kbps), System("opus, 16 kbps", 16.0)]
    return [*ours, copies, more, *([] if ours_only else theirs)]


def markdown(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    """Return the table of means over clips."""
    lines = [
        "| loss | system | kbps | " + " | ".join(NAMES.get(key, key) for key in keys) + " |",
        "|---|---|---:|" + "---:|" * len(keys),
    ]
    for loss, burst in dict.fromkeys((row["loss"], row["burst"]) for row in rows):
        channel = "none" if not loss else f"{loss:.0%}" + (f", {burst:g} in a row" if burst > 1 else "")
        for system in dict.fromkeys(row["system"] for row in rows):
            own = [row for row in rows if (row["loss"], row["burst"], row["system"]) == (loss, burst, system)]
            if not own:
                continue
            means = [mean([row[key] for row in own]) for key in ("kbps", *keys)]
            cells = ["-" if value is None else f"{value:.2f}" for value in means]
            lines.append(f"| {channel} | {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def merged(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the rows of several runs; what they have in common, such as Opus, is of the first of them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in files:
        rows, parts = read_json(path), ("clip", "system", "loss", "burst")
        if not isinstance(rows, list) or not all(isinstance(row, dict) and set(parts) <= row.keys() for row in rows):
            raise ArgumentError(f"{path}: does not hold rows of `ecdc bench loss`")
        for row in rows:
            found.setdefault(tuple(row[part] for part in parts), row)
    return list(found.values())


def selected(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the short table: what a caller can choose between, at each loss in CHOICES."""
    return [row for row in rows if row["system"] in CHOICES.get((row["loss"], row["burst"]), ())]


def plot(rows: Sequence[dict[str, Any]], keys: Sequence[str], target: Path) -> None:
    """Draw the scores against the share of random losses, without the methods that are worse than a codec's usual one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    systems = list(dict.fromkeys(row["system"] for row in rows))
    learned = {name.split(",")[0] for name in systems if name.endswith("learned")}
    systems = [name for name in systems if not name.endswith(("silence", "likely"))]
    systems = [name for name in systems if not (name.endswith("repeat") and name.split(",")[0] in learned)]
    figure = Figure(figsize=(13, 8), layout="constrained")
    for i, key in enumerate(keys):
        axes = figure.add_subplot(2, -(-(len(keys) + 1) // 2), i + 1)
        for j, system in enumerate(systems):
            own = [row for row in rows if row["system"] == system and row["burst"] == 1]
            losses = sorted({row["loss"] for row in own})
            values = [np.mean([row[key] for row in own if row["loss"] == loss]) for loss in losses]
            kbps = np.mean([row["kbps"] for row in own if row["loss"] == losses[-1]])
            axes.plot([100 * loss for loss in losses], values, marker="o", color=f"C{j}",
                      linestyle="--" if system.startswith("opus") else "-", label=f"{system} ({kbps:.1f} kbps)")  # fmt: skip
        axes.set(xlabel="packets lost (%)", ylabel=NAMES.get(key, key))
        axes.grid(alpha=0.3)
    blank = figure.add_subplot(2, -(-(len(keys) + 1) // 2), len(keys) + 1)
    blank.axis("off")
    blank.legend(*figure.axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.savefig(target, dpi=110)


def speech_clips(folder: Path | None, n: int, seconds: float) -> list[Clip]:
    """Return speech at 24 kHz: validation clips of packed audio, or the bundled clips."""
    if folder is None:
        return [clip for clip in bundled(24_000) if clip.kind == "speech"][:n]
    return [clip for clip in packed(folder, 24_000, seconds, n) if clip.name.startswith("speech-")][:n]


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or folder of a codec.")
@click.option("--kbps", type=KBPS, default=6.0, show_default=True, help="Bitrate of its codes.")
@click.option("--frames", type=COUNT, default=2, show_default=True, help="In a packet.")
@click.option(
    "--packed", "folder", type=click.Path(path_type=Path), help="Packed audio; the speech of its validation slice is used."
)
@click.option("--clips", type=COUNT, default=6, show_default=True)
@click.option("--seconds", type=SECONDS, default=6.0, show_default=True, help="Seconds of each validation clip.")
@click.option("--seeds", type=COUNT, default=2, show_default=True, help="Patterns of losses for each clip.")
@click.option("--metric", "keys", multiple=True, default=tuple(NAMES), show_default=True)
@click.option("--ours-only", is_flag=True, help="Do not measure Opus, for example if another run did.")
@click.option("--rows", "files", type=click.Path(path_type=Path), multiple=True, help="Show these rows; measure nothing.")
@jobs_option
@json_option
@click.option("--plot", "picture", type=NEW_FILE, help="Draw the scores here.")
def main(
    model: str, kbps: float, frames: int, folder: Path | None, clips: int, seconds: float, seeds: int, keys: tuple[str, ...],
    ours_only: bool, files: tuple[Path, ...], jobs: int, target: Path | None, picture: Path | None,
) -> None:  # fmt: skip
    """Send speech through packets that get lost, beside Opus."""
    rows = merged(files) or measure_all(
        default_systems(model, kbps, frames, ours_only), speech_clips(folder, clips, seconds), seeds, keys, jobs
    )
    click.echo(markdown(rows, keys))
    if not files:
        click.echo(f"\n{clips} clips of speech, {seeds} patterns of losses each, scored at 24 kHz; {processor_name()}.")
    write_json(rows, target)
    if picture:
        plot(rows, keys, picture)


def measure_all(
    systems: Sequence[System], speech: Sequence[Clip], seeds: int, keys: Sequence[str], jobs: int
) -> list[dict[str, Any]]:
    """Return the rows of all clips and systems; raises ClickException if there are no clips."""
    channels = [(0.0, 1.0), (0.05, 1.0), (0.1, 1.0), (0.2, 1.0), (0.1, 3.0)]
    work = partial(measure, systems=systems, channels=channels, seeds=seeds, keys=keys)
    if not speech:
        raise click.ClickException("there are no clips of speech")
    check_metrics(keys)
    return rows_of_clips(work, speech, jobs)


if __name__ == "__main__":
    main()
