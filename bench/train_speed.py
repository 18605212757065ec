"""Measure how fast a codec trains: seconds per step, and seconds of audio per second, in one process and in two.

    ecdc bench train-speed nano-48k --packed runs/audio/packed

The time of a step includes everything: drawing, coding, all losses, gradients, optimizers and codebooks. Medians over steps.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from ..train.codec.recipe import Recipe
from ..train.codec.state import Run
from ..train.codec.step import draw_audio, row_samples, start_codebooks, train_step
from ..train.data.packed_audio import PackedAudio
from ..train.engine import parallel
from ..train.engine.recipes import find_recipe, read_recipe
from .options import COUNT
from .processor_name import processor_name
from .rows import json_option, write_json

WARM_UP = 3  # uncounted steps at the start


def measure(name: str, folder: Path, n_steps: int) -> dict[str, Any] | None:
    """Train in this group of processes; return the row in the first process, None in the others."""
    torch.set_num_threads(1)
    parallel.start()
    recipe: Recipe = dataclasses.replace(read_recipe(find_recipe(name), Recipe), kmeans_seconds=60.0)
    data = PackedAudio.open(folder, "train", row_samples(recipe))
    run = Run.new(recipe)
    start_codebooks(run, data)
    run.codec.train()
    times = []
    for step in range(WARM_UP + n_steps):
        began = time.perf_counter()
        train_step(run, draw_audio(recipe, data, step))
        times.append(time.perf_counter() - began)
    n_processes, first = parallel.world_size(), parallel.rank() == 0
    parallel.stop()
    taken = median(times[WARM_UP:])
    seconds = recipe.data.batch_size * row_samples(recipe) / recipe.codec.sample_rate
    figures = {"step_seconds": round(taken, 3), "times_real_time": round(seconds / taken, 1)}
    return {"recipe": name, "processes": n_processes, **figures} if first else None


def in_processes(name: str, folder: Path, n_steps: int, n_processes: int) -> dict[str, Any]:
    """Run `measure` under torchrun and return its row; raises ClickException if it fails."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes), "-m",
        "ecdc.bench.train_speed", name, "--packed", str(folder), "--steps", str(n_steps), "--worker",
    ]  # fmt: skip
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"training failed: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@click.command()
@click.argument("recipe", default="nano-48k")
@click.option("--packed", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="Packed audio.")
@click.option("--steps", type=COUNT, default=12, show_default=True, help="Steps that count.")
@click.option("--worker", is_flag=True, hidden=True)
@json_option
def main(recipe: str, folder: Path, steps: int, worker: bool, target: Path | None) -> None:
    """Time a training step of RECIPE, and print a table."""
    if worker:
        row = measure(recipe, folder, steps)
        if row:
            click.echo(json.dumps(row))
        return
    rows = [in_processes(recipe, folder, steps, n) | {"machine": processor_name()} for n in (1, 2)]
    click.echo("| recipe | processes | step (s) | times real time |\n|---|---:|---:|---:|")
    for row in rows:
        click.echo(f"| {row['recipe']} | {row['processes']} | {row['step_seconds']:.2f} | {row['times_real_time']:.1f} |")
    write_json(rows, target)


if __name__ == "__main__":
    main()
