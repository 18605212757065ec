"""Memory and time of long files: one command to encode, one to decode, each a process of its own.

python -m ecdc.bench.memory
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import soundfile

from ..codec.audio import resample_all
from .demo import CLIPS
from .speed import processor

SAMPLE_RATE = 44_100  # Hz


def write_long(path: Path, minutes: float) -> int:
    """The bundled stereo clip over and over, each time at another level; returns its samples."""
    audio, rate = soundfile.read(CLIPS / "music_cavern.flac", dtype="float32", always_2d=True)
    clip = resample_all(np.ascontiguousarray(audio.T), rate, SAMPLE_RATE).T
    levels = np.random.default_rng(0)
    left = n_samples = round(minutes * 60 * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, "PCM_16") as file:
        while left:
            block = clip[:left] * levels.uniform(0.2, 1.0)
            file.write(block)
            left -= len(block)
    return n_samples


def run(*args: str) -> tuple[float, float]:
    """Run `ecdc ARGS`; returns its seconds and its peak memory in MB (10^6 bytes)."""
    began = time.perf_counter()
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "ecdc.cli", *args, "--quiet"])
    _, status, usage = os.wait4(process, 0)
    if status:
        raise click.ClickException(f"ecdc {args[0]} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e6


@click.command()
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--kbps", default=6.0, show_default=True)
def main(minutes: float, kbps: float) -> None:
    """Encode and decode a long file and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        wav, coded, back = (str(Path(folder) / name) for name in ("a.wav", "a.ecdc", "back.wav"))
        n_samples = write_long(Path(wav), minutes)
        rows = {"encode": run("encode", wav, "-o", coded, "--kbps", f"{kbps:g}"), "decode": run("decode", coded, "-o", back)}
        n_back = soundfile.info(back).frames
    click.echo(f"{minutes:g} min of 44.1 kHz stereo at {kbps:g} kbps on {processor()}: {n_samples} samples in, {n_back} out\n")
    click.echo("| command | seconds | x real time | peak memory MB |\n|---|---|---|---|")
    for name, (seconds, megabytes) in rows.items():
        click.echo(f"| {name} | {seconds:.0f} | {60 * minutes / seconds:.0f} | {megabytes:.0f} |")


if __name__ == "__main__":
    main()
