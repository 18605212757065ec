"""Compare the time of encoding a plain WAV with that of an older version: whole processes of both, in turns.

git worktree add ../before d50f57a && mkdir -p build/before && ln -sfn ../../../before build/before/ecdc
ecdc bench pairs --before build/before --json bench/results/pairs.json
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import soundfile

from .memory import ECDC, STEREO, Sound, blocks
from .options import NEW_FILE, Finite
from .processor_name import processor_name
from .rows import write_json


def encode(wav: Path, path: str | None) -> float:
    """Return the seconds of `ecdc encode` as a process with one thread, with the package in `path`; None: this version."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": path} if path else {})
    command = [*ECDC, "encode", str(wav), "-o", str(wav.with_suffix(".ecdc")), "--force", "--quiet", "--entropy", "none"]
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    return time.perf_counter() - began


def measure(before: str, seconds: float, pairs: int) -> dict[str, Any]:
    """Return the times of both versions in seconds, as JSON-compatible values. The order alternates from pair to pair."""
    rate, channels = STEREO
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "a.wav"
        soundfile.write(wav, np.concatenate(list(blocks(Sound(round(seconds * rate), rate, channels)))), rate)
        times: dict[str, list[float]] = {"before": [], "now": []}
        for turn in range(-1, pairs):  # the first warms up
            for name in ("before", "now") if turn % 2 else ("now", "before"):
                spent = encode(wav, before if name == "before" else None)
                times[name] += [round(spent, 3)] if turn >= 0 else []
    return {"seconds": seconds, "device": processor_name(), "times": times}


def markdown(found: dict[str, Any]) -> str:
    """Return the results of `measure` as a sentence."""
    before, now = found["times"]["before"], found["times"]["now"]
    ratios = [b / a for a, b in zip(before, now, strict=True)]
    return (
        f"Plain WAV, {found['seconds']:g} s in stereo, encoded by a whole process with one thread: {median(now):.2f} s, and "
        f"{median(before):.2f} s with commit {found['before']}; median ratio of {len(now)} pairs {median(ratios):.2f}, "
        f"{found['device']}."
    )


@click.command()
@click.option("--before", required=True, help="A folder in which `import ecdc` finds the older version.")
@click.option("--commit", default="d50f57a", show_default=True, help="What to call it.")
@click.option("--seconds", type=Finite(1, 36_000), default=60.0, show_default=True, help="Seconds of audio.")
@click.option("--pairs", type=click.IntRange(1), default=7, show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(before: str, commit: str, seconds: float, pairs: int, target: Path | None) -> None:
    """Print the time of encoding a WAV, compared with an older version."""
    found = measure(before, seconds, pairs) | {"before": commit}
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
