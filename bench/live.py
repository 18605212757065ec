"""Measure the lag at the end of a pipe fed in real time: `encode - -o - | decode - -o -`.

    ecdc bench live

A clip at the codec's rate is written into the pipe in real time, as from a microphone. The lag of a sample is the time
between its input and its output. The clock starts when both commands are ready; `start_seconds`
is the time until then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..codec.audio import wave_header
from ..codec.default_model import DEFAULT_MODEL
from ..codec.runtime import shared
from .memory import Sound, blocks
from .options import NEW_FILE, SECONDS, Finite
from .processor_name import processor_name
from .rows import write_json

ECDC = [sys.executable, "-m", "ecdc.cli"]
HEADER_BYTES = len(wave_header(48_000, 1, None))
TICK_SECONDS = 0.01  # between two writes
CHUNKS = (0.1, 0.5, 5.0)  # seconds


@dataclass(frozen=True)
class Lag:
    """One row: a chunk length, and the lag of the samples."""

    model: str
    sample_rate: int  # Hz
    chunk_seconds: float
    start_seconds: float  # until both commands are ready
    first_ms: float  # from the first sample in to the first sample out
    median_ms: float  # over all samples
    largest_ms: float  # the buffer that a player needs to avoid gaps


def lags(arrivals: Sequence[tuple[float, int]], rate: int) -> np.ndarray:
    """Return the lag of every sample in seconds. `arrivals` are (seconds since the start, samples out so far), in order."""
    times, counts = (np.array(column) for column in zip(*arrivals, strict=True))
    out = np.repeat(times, np.diff(counts, prepend=0))
    return out - np.arange(len(out)) / rate


def feed(pipe: Any, audio: bytes, rate: int, began: float) -> None:
    """Write 16-bit mono audio to `pipe` in real time, each tick when its last sample is due, and close it."""
    size = 2 * round(TICK_SECONDS * rate)
    with pipe:
        for start in range(0, len(audio), size):
            part = audio[start : start + size]
            time.sleep(max(0.0, began + (start + len(part)) / (2 * rate) - time.monotonic()))
            try:
                pipe.write(part)
            except BrokenPipeError:
                return


def measure(model: str, chunk_seconds: float, seconds: float, options: Sequence[str] = ()) -> Lag:
    """Measure one row; raises ClickException if nothing comes out of the pipe."""
    rate, channels = shared(model).sample_rate, 1
    sound = Sound(round(seconds * rate), rate, channels)
    audio = np.concatenate(list(blocks(sound))).tobytes()
    began = time.monotonic()
    encode = [*ECDC, "encode", "-", "-o", "-", "--quiet", "--model", model, "--chunk-seconds", f"{chunk_seconds:g}", *options]
    decode = [*ECDC, "decode", "-", "-o", "-", "--quiet", "--model", model, *options]
    with (
        subprocess.Popen(encode, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as encoder,
        subprocess.Popen(decode, stdin=encoder.stdout, stdout=subprocess.PIPE, bufsize=0) as decoder,
    ):
        assert encoder.stdin and encoder.stdout and decoder.stdout
        encoder.stdout.close()
        encoder.stdin.write(wave_header(rate, channels, None))
        if len(os.read(decoder.stdout.fileno(), HEADER_BYTES)) < HEADER_BYTES:
            raise click.ClickException("the pipe ended before it began")
        ready = time.monotonic()
        feeder = threading.Thread(target=feed, args=(encoder.stdin, audio, rate, ready))
        feeder.start()
        arrivals = _arrivals(decoder.stdout.fileno(), ready)
        feeder.join()
    whole = [(at, n) for at, n in arrivals if at < seconds]  # without the last chunk, which is cut short
    if not whole:
        raise click.ClickException(f"nothing came out within {seconds:g} s of chunks of {chunk_seconds:g} s")
    late = 1000 * lags(whole, rate)
    return Lag(
        model, rate, chunk_seconds, round(ready - began, 2), round(1000 * whole[0][0], 1), round(float(np.median(late)), 1),
        round(float(late.max()), 1),
    )  # fmt: skip


def _arrivals(fd: int, ready: float) -> list[tuple[float, int]]:
    """Return (seconds since `ready`, 16-bit samples so far) for every read until the end."""
    found, n_bytes = [], 0
    while part := os.read(fd, 1 << 16):
        n_bytes += len(part)
        found.append((time.monotonic() - ready, n_bytes // 2))
    return found


def markdown(found: dict[str, Any]) -> str:
    """Return the results of the command as a table."""
    lines = [
        "| chunks of | first sample | median lag | largest lag | goal for the first |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['chunk_seconds']:g} s | {row['first_ms']:.0f} ms | {row['median_ms']:.0f} ms | "
            f"{row['largest_ms']:.0f} ms | {1000 * row['chunk_seconds'] + 60:.0f} ms |"
        )
    first = found["rows"][0]
    lines += [
        "",
        f"{first['model']}, {first['sample_rate'] / 1000:g} kHz mono at 6 kbps, medians of {found['repeats']} runs, "
        f"{found['device']}, {found['processors']} processors, load {found['load']:.1f}; ready "
        f"{max(row['start_seconds'] for row in found['rows']):.1f} s after the start.",
    ]
    return "\n".join(lines)


def _median(rows: Sequence[Lag]) -> Lag:
    """Return the median of each figure over runs."""
    names = ("start_seconds", "first_ms", "median_ms", "largest_ms")
    figures = {name: round(float(np.median([getattr(row, name) for row in rows])), 2) for name in names}
    return Lag(rows[0].model, rows[0].sample_rate, rows[0].chunk_seconds, **figures)


@click.command("live")
@click.option(
    "--chunk-seconds", "chunks", type=SECONDS, multiple=True, help="Length of a chunk; may be repeated. Default: 0.1, 0.5, 5."
)
@click.option(
    "--seconds", type=Finite(1, 36_000), default=10.0, show_default=True, help="Seconds of audio, at least three chunks."
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="The codec.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each length, in turns.")
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(chunks: tuple[float, ...], seconds: float, model: str, repeats: int, target: Path | None) -> None:
    """Feed a pipe in real time: time to the first sample, and lag."""
    chunks = chunks or CHUNKS
    runs: dict[float, list[Lag]] = {chunk: [] for chunk in chunks}
    for _ in range(repeats):
        for chunk in chunks:
            runs[chunk].append(measure(model, chunk, max(seconds, 3.2 * chunk)))
    found = {
        "device": processor_name(), "processors": os.cpu_count(), "load": os.getloadavg()[0], "repeats": repeats,
        "rows": [asdict(_median(rows)) for rows in runs.values()],
    }  # fmt: skip
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
