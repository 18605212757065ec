"""Measure `ecdc corpus`: speed of its engines against a single encoder, memory, the cost of a kill, and reading for training.

    ecdc bench corpus                               # half an hour of the bundled clips, about 15 minutes
    ecdc bench corpus --folder recordings/ --only engines
    ecdc bench corpus --only peers --minutes 2      # the shape of EnCodec at 24 kHz, with random weights

On a machine that is busy with something else, compare the seconds of audio per second of the processor.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

from ..codec.default_model import DEFAULT_MODEL
from ..codec.runtime import open_codec
from ..codec.threads import settle
from .corpus import CLIPS
from .corpus_readers import reading_rows
from .options import MINUTES, NEW_FILE
from .processor_name import processor_name
from .rows import write_json

PARTS = ("engines", "resume", "ray", "reading", "peers")
MODEL, KBPS = DEFAULT_MODEL, 6.0
SHARD_MB = 2.0  # small, so that every worker has shards until the end
Row = dict[str, Any]


def make_recordings(folder: Path, minutes: float, seed: int = 0) -> float:
    """Write recordings of 3 to 30 seconds, the bundled clips at several levels, as FLAC; returns their seconds."""
    rng, seconds, number = np.random.default_rng(seed), 0.0, 0
    clips = [soundfile.read(path, dtype="float32", always_2d=True) for path in sorted(CLIPS.glob("*.flac"))]
    folder.mkdir(parents=True, exist_ok=True)
    while seconds < 60 * minutes:
        audio, rate = clips[number % len(clips)]
        n = round(min(rng.uniform(3, 30), 60 * minutes - seconds + 0.1) * rate)
        sound = np.resize(audio, (n, audio.shape[1])) * np.float32(10 ** rng.uniform(-1, 0))
        soundfile.write(folder / f"{number:06d}.flac", sound, rate)
        seconds, number = seconds + n / rate, number + 1
    return seconds


class Memory(threading.Thread):
    """Watches the peak memory of a process's descendants whose command line has a word."""

    def __init__(self, pid: int, word: str = "spawn_main") -> None:
        super().__init__(daemon=True)
        self._pid, self._word = pid, word
        self.peaks: dict[int, float] = {}  # by process, in 10^6 bytes
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(0.2):
            for pid in descendants(self._pid):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    if self._word in Path(f"/proc/{pid}/cmdline").read_text():
                        line = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1]
                        self.peaks[pid] = int(line.split()[0]) * 1024 / 1e6


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(Path(f"/proc/{int(name)}/stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        own = children.get(waiting.pop(), [])
        found += own
        waiting += own
    return found


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a call took, and those of the processor, its child processes included."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    used = sum(resource.getrusage(kind).ru_utime + resource.getrusage(kind).ru_stime for kind in kinds)
    began = time.perf_counter()
    call()
    wall = time.perf_counter() - began
    after = sum(resource.getrusage(kind).ru_utime + resource.getrusage(kind).ru_stime for kind in kinds)
    return wall, after - used


def command(source: Path, output: Path, *more: str) -> list[str]:
    """Return the command line that tokenises a folder."""
    words = [sys.executable, "-m", "ecdc.cli", "corpus", "encode", str(source), "--output", str(output), "--quiet"]
    return [*words, "--kbps", f"{KBPS:g}", "--shard-mb", f"{SHARD_MB:g}", "--allow-failures", *more]


def encode_row(what: str, words: list[str], seconds: float, word: str = "spawn_main") -> Row:
    """Run a command that encodes `seconds` of audio; returns its speed, and the peak memory of its workers."""
    peaks: dict[int, float] = {}

    def call() -> None:
        process = subprocess.Popen(words)
        memory = Memory(process.pid, word)
        code = process.wait()
        memory.done.set()
        peaks.update(memory.peaks)
        if code:
            raise click.ClickException(f"{' '.join(words)} failed")

    wall, used = timed(call)
    return {
        "part": "engines", "what": what, "seconds": wall, "x_real_time": seconds / wall, "x_per_cpu": seconds / used,
        "worker_mb": max(peaks.values(), default=None),
    }  # fmt: skip


def single_row(source: Path, seconds: float) -> Row:
    """Encode the same files with one codec in one thread, one after the other: `ecdc.encode_file` in a loop."""
    script = (
        "import sys, io, os, ecdc\nfrom ecdc.codec.threads import settle\nsettle(1)\n"
        "codec = ecdc.open_codec(sys.argv[1])\n"
        "for name in sorted(os.listdir(sys.argv[2])):\n"
        "    source = os.path.join(sys.argv[2], name)\n"
        "    ecdc.encode_file(source, io.BytesIO(), codec, kbps=6, channels=1, entropy='none', effort=0)\n"
    )
    words = [sys.executable, "-c", script, MODEL, str(source)]
    with single_thread():
        return encode_row("one encoder in a loop", words, seconds, "encode_file")


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Pin the threads of processes that start inside of the block."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


def engine_rows(source: Path, folder: Path, seconds: float) -> Iterator[Row]:
    """Measure the single encoder, and the local engine with one and two workers."""
    yield single_row(source, seconds)
    with single_thread():
        for n in (1, 2):
            words = command(source, folder / f"local{n}", "--workers", str(n))
            yield encode_row(f"local, {n} workers", words, seconds, "spawn_main" if n > 1 else "corpus")


def ray_rows(source: Path, folder: Path, seconds: float) -> Iterator[Row]:
    """Measure Ray with two actors, its start included. The processor's time of its processes cannot be seen."""
    words = command(source, folder / "ray", "--engine", "ray", "--workers", "2")
    row = encode_row("ray, 2 actors", words, seconds, "MapBatches")
    yield {name: value for name, value in row.items() if name != "x_per_cpu"}


def resume_rows(source: Path, folder: Path, seconds: float) -> Iterator[Row]:
    """Kill a run at about half of its shards, and continue: the processor's time beyond that of a whole run."""
    whole, split = folder / "whole", folder / "split"
    _, used_whole = timed(lambda: subprocess.run(command(source, whole, "--workers", "2"), check=True))

    def interrupted() -> None:
        process = subprocess.Popen(command(source, split, "--workers", "2"), start_new_session=True)
        wanted = len(list((whole / "records").iterdir())) // 2
        while process.poll() is None and len(list(split.glob("records/*"))) < wanted:
            time.sleep(0.02)
        if process.poll() is not None:
            raise click.ClickException("the run ended before it could be killed: give more --minutes")
        used.append(sum(map(cpu_seconds, [process.pid, *descendants(process.pid)])))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    used: list[float] = []
    interrupted()
    _, after = timed(lambda: subprocess.run(command(source, split, "--workers", "2"), check=True))
    _, nothing = timed(lambda: subprocess.run(command(source, split, "--workers", "2"), check=True))
    is_same = {p.name: p.read_bytes() for p in whole.glob("*.*")} == {p.name: p.read_bytes() for p in split.glob("*.*")}
    yield {"part": "resume", "what": "killed at half, then continued", "cpu_seconds": used[0] + after, "cpu_whole": used_whole,
           "cpu_of_nothing_to_do": nothing, "audio_seconds": seconds, "is_same": is_same}  # fmt: skip


def cpu_seconds(pid: int) -> float:
    """Return the processor's time of a running process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def markdown(rows: list[Row]) -> str:
    """Return a table of the rows."""
    texts = {
        "x_real_time": "{:.1f}x real time", "x_per_cpu": "{:.1f} s of audio per second of a processor",
        "worker_mb": "{:.0f} MB per worker", "codes_per_second": "{:,.0f} codes/s",
        "codes_per_cpu": "{:,.0f} codes per second of a processor", "cpu_seconds": "{:.1f} s of a processor",
        "cpu_whole": "{:.1f} s for a whole run", "cpu_of_nothing_to_do": "{:.1f} s if all is done", "is_same": "same bytes: {}",
        "seconds": "{:.1f} s",
    }  # fmt: skip
    lines = ["| what | result |", "|---|---|"]
    for row in rows:
        shown = [text.format(row[key]) for key, text in texts.items() if row.get(key) is not None]
        lines.append(f"| {row['what']} | {', '.join(shown)} |")
    return "\n".join([*lines, "", f"{processor_name()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}."])


@click.command()
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure only this part; may be repeated.")
@click.option("--minutes", type=MINUTES, default=30.0, show_default=True, help="Length of the audio.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Measure on this audio instead.")
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(only: tuple[str, ...], minutes: float, folder: Path | None, target: Path | None) -> None:
    """Measure `ecdc corpus`."""
    chosen = only or PARTS
    rows: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        source = folder or Path(name) / "in"
        if folder is None and set(chosen) - {"peers"}:
            seconds = make_recordings(source, minutes)
        elif folder is not None:
            seconds = sum(soundfile.info(path).duration for path in folder.iterdir())
        settle(1)
        open_codec(MODEL).encode(np.zeros((1, 1, 24_000), np.float32))  # fills the caches of the disk
        if "engines" in chosen:
            rows += engine_rows(source, Path(name), seconds)
        if "ray" in chosen:
            rows += ray_rows(source, Path(name), seconds)
        if "resume" in chosen:
            rows += resume_rows(source, Path(name), seconds)
        if "reading" in chosen:
            rows += reading_rows(source, Path(name))
        if "peers" in chosen:
            from .corpus_peers import peer_rows

            peers = Path(name) / "peers"
            rows += peer_rows(peers, make_recordings(peers / "in", min(minutes, 5.0)), timed)
        shutil.rmtree(name, ignore_errors=True)
    click.echo(markdown(rows))
    write_json({"device": processor_name(), "load": os.getloadavg(), "rows": rows}, target)


if __name__ == "__main__":
    main()
