"""Compare the cost of decoding five seconds from the middle of ten hours with that of a file of five seconds.

    ecdc bench seek

The long file repeats the codes of the bundled speech clip. Both files are decoded by `ecdc decode`, as whole
processes in turns, so both times include start-up.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import numpy as np

from .. import open as open_codes
from .. import write
from ..codec.bundled import bundled_names
from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline import encode_file
from .corpus import CLIPS
from .memory import run
from .options import HOURS, NEW_FILE, SECONDS
from .processor_name import processor_name
from .rows import write_json


def long_file(clip: Path, path: Path, hours: float) -> None:
    """Write a token file of `hours` that repeats the clip's codes."""
    with open_codes(clip) as file:
        codes, header = file.codes(), file.header
        n_frames = round(hours * 3600 * file.frame_rate)
    repeats = -(-n_frames // codes.shape[1])
    n_samples = n_frames * header.hop_length
    lengths: dict[str, Any] = {"n_samples": n_samples, "original_n_samples": n_samples}
    codes = np.tile(codes, repeats)[:, :n_frames]
    write(path, codes, header, original_sample_rate=header.sample_rate, **lengths)


def measure(model: str, hours: float, seconds: float, repeats: int, folder: Path) -> dict[str, Any]:
    """Return the times of the three commands, run in turns, as JSON-compatible values."""
    clip, long, short, wav = (folder / name for name in ("clip.ecdc", "long.ecdc", "short.ecdc", "out.wav"))
    encode_file(CLIPS / "speech_it.flac", clip, model, kbps=6)
    long_file(clip, long, hours)
    long_file(clip, short, seconds / 3600)
    cut = long.with_name("cut.ecdc")
    cut.write_bytes(long.read_bytes()[:-1000])  # no END chunk, so that the heads of its chunks are scanned
    span = ["--start", f"{hours * 1800:g}", "--duration", f"{seconds:g}"]
    commands = {
        f"all of {seconds:g} s": ["decode", str(short)],
        f"{seconds:g} s from the middle of {hours:g} h": ["decode", str(long), *span],
        "the same of a stream that was cut off, without an index": ["decode", str(cut), *span],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            cost = run(*command, "-o", str(wav), "--force")
            times[name] += [round(cost.seconds, 4)] if turn else []
    about = (
        f"Files of {long.stat().st_size / 1e6:.0f} MB and {short.stat().st_size / 1e3:.1f} kB, {model} at 6 kbps, "
        f"{processor_name()}; whole processes, medians of {repeats} turns, spread is the interquartile range."
    )
    return {"about": about, "times": times}


def markdown(found: dict[str, Any]) -> str:
    """Return the results of `measure` as a paragraph and a table."""
    lines = [found["about"], "", "| decoded | seconds | spread | ratio |", "|---|---:|---:|---:|"]
    first = next(iter(found["times"].values()))
    for name, values in found["times"].items():
        low, middle, high = quantiles(values, n=4)
        ratio = median(b / a for a, b in zip(first, values, strict=True))
        lines.append(f"| {name} | {middle:.2f} | {(high - low) / middle:.0%} | {ratio:.2f} |")
    return "\n".join(lines)


@click.command()
@click.option("--model", type=click.Choice(bundled_names()), default=DEFAULT_MODEL, show_default=True)
@click.option("--hours", type=HOURS, default=10.0, show_default=True)
@click.option("--seconds", type=SECONDS, default=5.0, show_default=True, help="Length of the span.")
@click.option("--repeats", type=click.IntRange(2), default=9, show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(model: str, hours: float, seconds: float, repeats: int, target: Path | None) -> None:
    """Print the cost of decoding a span of a long file, compared with a short file."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(model, hours, seconds, repeats, Path(folder))
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
