"""Measure a server's view: steps of many live streams on one core, how even they are, and what a stream keeps.

    ecdc bench streams nano-24k nano-48k --json bench/results/streams.json

In every step, all streams encode a frame of speech at 6 kbps and decode one. They finish together, so the spread of steps is
that of each stream's delay.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

from ..codec.audio import resample_all
from ..codec.light.codec import LightCodec
from ..codec.light.load import is_light, load_light
from ..codec.runtime import open_codec
from ..codec.threads import settle
from .corpus import CLIPS
from .options import NEW_FILE
from .processor_name import processor_name
from .rows import write_json

STREAMS = 1, 8, 64
KBPS = 6.0
WARM_STEPS = 20  # the first steps allocate
Row = dict[str, Any]


@contextlib.contextmanager
def opened(model: str) -> Iterator[LightCodec]:
    """Open a model in onnxruntime; a folder of weights alone gets graphs in a temporary copy."""
    source = Path(model)
    if not source.is_dir() or is_light(source):
        codec = open_codec(model, "onnx")
        assert isinstance(codec, LightCodec)
        yield codec
        return
    from ..codec.light.export import write_structures

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(source, Path(folder) / source.name))
        write_structures(copy)
        yield load_light(copy)


def speech(rate: int, channels: int) -> np.ndarray:
    """Return the bundled speech at `rate` Hz: float32 [C, N]."""
    audio, own = soundfile.read(CLIPS / "speech_it.flac", dtype="float32")
    found: np.ndarray = np.repeat(resample_all(audio[None], own, rate), channels, axis=0)
    return found


def step_seconds(codec: LightCodec, n_streams: int, n_steps: int) -> np.ndarray:
    """Return the seconds of each step of `n_streams` streams, which hear different parts of a clip."""
    config = codec.config
    hop, wav = config.hop_length, speech(config.sample_rate, config.channels)
    batch, seconds = codec.batch(n_streams), []
    starts = np.linspace(0, wav.shape[1], n_streams, endpoint=False).astype(int)
    for step in range(n_steps + WARM_STEPS):
        places = (starts[:, None] + step * hop + np.arange(hop)) % wav.shape[1]
        blocks = wav[:, places].swapaxes(0, 1)
        began = time.perf_counter()
        codes, _ = batch.encode(blocks, KBPS)
        batch.decode(codes)
        seconds.append(time.perf_counter() - began)
    return np.array(seconds[WARM_STEPS:])


def rows_of(codec: LightCodec, n_streams: int, seconds: np.ndarray) -> Row:
    """Return a row of figures: percentiles of a step's seconds, streams per core, bytes per stream."""
    p50, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 95, 99)))
    frame = 1 / float(codec.config.frame_rate)
    return {
        "model": codec.config.name, "streams": n_streams, "p50": p50, "p95": p95, "p99": p99, "steps": len(seconds),
        "frame": frame, "streams_per_core": n_streams * frame / p50, "bytes": codec.batch().bytes_per_stream,
    }  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """Return a table of the rows."""
    heads = "model", "streams", "step, median (ms)", "95 %", "99 %", "a frame (ms)", "streams per core", "kB per stream"
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in found["rows"]:
        times = " | ".join(f"{1000 * row[key]:.1f}" for key in ("p50", "p95", "p99", "frame"))
        more = f"{row['streams_per_core']:.1f} | {row['bytes'] / 1000:.0f}"
        lines.append(f"| {row['model']} | {row['streams']} | {times} | {more} |")
    return "\n".join([*lines, "", found["about"]])


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--steps", type=click.IntRange(10), default=500, show_default=True)
@click.option("--note", default="", help="A sentence about the machine, for the description.")
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(models: tuple[str, ...], steps: int, note: str, target: Path | None) -> None:
    """Measure steps of 1, 8 and 64 live streams of MODELS, with one thread."""
    settle(1)
    rows: list[Row] = []
    for model in models:
        with opened(model) as codec:
            rows += [rows_of(codec, n, step_seconds(codec, n, steps)) for n in STREAMS]
    about = f"Encode and decode at {KBPS:g} kbps with one thread, {steps} steps, {processor_name()}."
    found = {"about": f"{about} {note}".strip(), "rows": rows}
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
