"""Compare our multi-band diffusion with audiocraft's: time per step, difference of the samples, memory.

    ecdc bench mbd-peer --json bench/results/mbd_peer.json

Both use the same random weights, noise and condition. The widths of the published networks are
known only from their files, so networks of a chosen width are used. Each kind of bottleneck is timed.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from torch import Tensor

from ..codec.diffusion.decoder import MultiBandDiffusion
from ..codec.diffusion.noise import BatchNoise
from .options import COUNT, NEW_FILE, SECONDS, SEED, Finite
from .peers import (
    audiocraft_diffusion,
    conditions_sentence,
    in_subprocess,
    in_turns,
    measurement_conditions,
    median_iqr,
    memory_of,
)
from .rows import write_json

RATE, HOP, DIMENSION = 24_000, 320, 128  # Hz, samples per frame, D
BOTTLENECKS = ("none", "transformer", "bilstm")
PEER, OURS = "audiocraft", "ours"
WINDOW_SECONDS = 10.0  # of our decoder, in the memory measurement
FULL_STEPS = 20  # for the comparison of samples, as published


@dataclass(frozen=True)
class Setting:
    """The settings of the benchmark."""

    hidden: int = 48
    growth: float = 2.0
    depth: int = 4
    seconds: float = 4.0  # of the clip that is timed
    steps: int = 3  # per band and turn
    turns: int = 7
    memory_seconds: float = 60.0
    seed: int = 0


def cfg(setting: Setting, bottleneck: str) -> dict[str, Any]:
    """Return a band's configuration in audiocraft's format."""
    return {
        "channels": 1,
        "schedule": {
            "repartition": "power", "beta_t0": 1e-5, "beta_t1": 2.9e-2, "beta_exp": 7.5, "num_steps": 1000, "variance": "beta",
            "clip": 5.0, "rescale": 1.0, "n_bands": None, "noise_scale": 1.0,
        },
        "diffusion_unet": {
            "hidden": setting.hidden, "depth": setting.depth, "growth": setting.growth, "kernel": 8, "stride": 4,
            "norm_groups": 4, "res_blocks": 1, "dropout": 0.0, "emb_all_layers": True, "bilstm": bottleneck == "bilstm",
            "transformer": bottleneck == "transformer", "cross_attention": False, "codec_dim": DIMENSION,
            "max_channels": 10_000,
        },
        "processor": {"use": True, "name": "multi_band_processor", "n_bands": 8, "num_samples": 10_000, "power_std": 0.4},
    }  # fmt: skip


def write_random(peer: Any, setting: Setting, bottleneck: str, path: Path) -> None:
    """Write one band with random weights in the published layout."""
    torch.manual_seed(setting.seed)
    values = cfg(setting, bottleneck)
    unet = peer.unet.DiffusionUnet(chin=1, num_steps=1000, **values["diffusion_unet"])
    processor = _processor(peer, values)
    processor.project_sample(0.2 * torch.randn(4, 1, RATE // 4))
    band = {"cfg": values, "model_state": unet.state_dict(), "processor_state": processor.state_dict()}
    torch.save({"sample_rate": RATE, "n_bands": 1, 0: band}, path)


def _processor(peer: Any, values: dict[str, Any]) -> Any:
    options = {key: value for key, value in values["processor"].items() if key not in ("use", "name")}
    return peer.schedule.MultiBandProcessor(sample_rate=RATE, **options)


def load_peer(peer: Any, path: Path) -> Any:
    """Load audiocraft's decoder from a file with one band."""
    package = torch.load(path, weights_only=True)
    values = package[0]["cfg"]
    unet = peer.unet.DiffusionUnet(chin=1, num_steps=1000, **values["diffusion_unet"]).eval()
    unet.load_state_dict(package[0]["model_state"])
    processor = _processor(peer, values)
    processor.load_state_dict(package[0]["processor_state"])
    schedule = peer.schedule.NoiseSchedule(**values["schedule"], sample_processor=processor, device="cpu")
    return peer.decoder.MultiBandDiffusion([peer.decoder.DiffusionProcess(unet, schedule)], torch.nn.Linear(1, 1))


def latents_for(seconds: float, seed: int) -> Tensor:
    """Return a random condition [1, D, T]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, DIMENSION, max(1, round(seconds * RATE / HOP)), generator=generator)


def times_of(steps: int) -> list[int]:
    """Return the diffusion steps at which the network is called: evenly spaced, from the noisiest down."""
    return [999 - i * 1000 // steps for i in range(steps)]


def their_samples(theirs: Any, latents: Tensor, steps: int, seed: int) -> Tensor:
    """Return audiocraft's samples [1, 1, N]."""
    torch.manual_seed(seed)
    size = torch.Size([1, 1, latents.shape[-1] * HOP])
    samples: Tensor = theirs.generate(latents, size, step_list=[*times_of(steps), 0])
    return samples


def our_samples(
    ours: MultiBandDiffusion, latents: Tensor, steps: int, seed: int, window_seconds: float | None = None
) -> Tensor:
    """Return our samples [1, 1, N], from the same random numbers; with windows, from other random numbers."""
    torch.manual_seed(seed)
    noise = BatchNoise() if window_seconds is None else seed
    n_samples = latents.shape[-1] * HOP
    return ours.generate(latents, n_samples, steps=times_of(steps), seed=noise, window_seconds=window_seconds)


def compare(peer: Any, setting: Setting, bottleneck: str, path: Path) -> dict[str, Any]:
    """Return a row: times per step, and the largest difference of the samples after all steps."""
    write_random(peer, setting, bottleneck, path)
    theirs, ours = load_peer(peer, path), MultiBandDiffusion.load(path)
    latents, seed = latents_for(setting.seconds, setting.seed), setting.seed
    wanted = their_samples(theirs, latents, FULL_STEPS, seed)
    difference = (our_samples(ours, latents, FULL_STEPS, seed) - wanted).abs().max()
    times = in_turns(
        {
            PEER: lambda: their_samples(theirs, latents, setting.steps, seed),
            OURS: lambda: our_samples(ours, latents, setting.steps, seed),
        },
        setting.turns,
    )
    return {
        "bottleneck": bottleneck,
        "parameters": sum(parameter.numel() for parameter in ours.parameters()),
        **{name: median_iqr(found, setting.steps) for name, found in times.items()},
        "ratio": round(median(times[PEER]) / median(times[OURS]), 3),
        "difference": float(difference),
        "peak": float(wanted.abs().max()),
    }


def peak(kind: str, setting: Setting, path: Path, n_threads: int) -> dict[str, float]:
    """Return the megabytes that two steps on a long clip add to the loaded model. Call it in a separate process."""
    torch.set_num_threads(n_threads)
    latents = latents_for(setting.memory_seconds, setting.seed)
    if kind == PEER:
        theirs = load_peer(audiocraft_diffusion(), path)
        return memory_of(lambda: their_samples(theirs, latents, 2, setting.seed))
    ours = MultiBandDiffusion.load(path)
    return memory_of(lambda: our_samples(ours, latents, 2, setting.seed, WINDOW_SECONDS))


def measure(setting: Setting) -> dict[str, Any]:
    """Measure all figures and return them as JSON-compatible values."""
    peer, n_threads = audiocraft_diffusion(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mbd.th"
        rows = [compare(peer, setting, bottleneck, path) for bottleneck in BOTTLENECKS]
        write_random(peer, setting, BOTTLENECKS[0], path)
        peaks = {kind: in_subprocess(peak, kind, setting, path, n_threads) for kind in (PEER, OURS)}
    return measurement_conditions(setting.seed) | {"settings": asdict(setting), "rows": rows, "memory_mb": peaks}


def markdown(found: dict[str, Any]) -> str:
    """Return the results of `measure` as a table and two paragraphs."""
    s, memory = found["settings"], found["memory_mb"]
    lines = [
        "| bottleneck | million weights | audiocraft, s per step | ours | times as fast | largest difference | of a peak of |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        cells = [row["bottleneck"], f"{row['parameters'] / 1e6:.1f}"]
        cells += [f"{row[name]['seconds']:.3f} ± {row[name]['spread']:.0%}" for name in (PEER, OURS)]
        cells += [f"{row['ratio']:.2f}", f"{row['difference']:.0e}", f"{row['peak']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    share = memory[OURS]["resident"] / memory[PEER]["resident"]
    lines += [
        "",
        f"One band, {s['depth']} levels from {s['hidden']} channels on, each {s['growth']:g} times as wide as the one before; "
        f"{s['seconds']:g} s at 24 kHz, medians of {s['turns']} turns (spread: interquartile range), {FULL_STEPS} steps where "
        f"samples are compared. {conditions_sentence(found)}",
        "",
        f"Above the loaded model, {s['memory_seconds']:g} s take audiocraft {memory[PEER]['resident']:.0f} MB, and ours, in "
        f"windows of {WINDOW_SECONDS:g} s, {memory[OURS]['resident']:.0f} MB: {share:.2f} of it.",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--hidden", type=COUNT, default=Setting.hidden, show_default=True, help="Channels of the outermost level.")
@click.option(
    "--growth", type=Finite(1, 10), default=Setting.growth, show_default=True, help="Of the width, from level to level."
)
@click.option("--depth", type=COUNT, default=Setting.depth, show_default=True, help="Levels.")
@click.option("--seconds", type=SECONDS, default=Setting.seconds, show_default=True, help="Length of the clip that is timed.")
@click.option("--steps", type=COUNT, default=Setting.steps, show_default=True, help="Per turn.")
@click.option("--turns", type=click.IntRange(2), default=Setting.turns, show_default=True)
@click.option("--memory-seconds", type=SECONDS, default=Setting.memory_seconds, show_default=True,
              help="Length where memory is measured.")  # fmt: skip
@click.option("--seed", type=SEED, default=Setting.seed, show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(target: Path | None, **given: Any) -> None:
    """Compare the speed and memory of multi-band diffusion with audiocraft's."""
    found = measure(Setting(**given))
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
