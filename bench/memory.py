"""Measure memory and time of long audio: with files, one command each to encode and decode, or with one pipe.

    ecdc bench memory                             # an hour, with files
    ecdc bench memory --pipes --minutes 600 --mono       # encode - -o - | decode - -o -

The audio repeats the bundled stereo clip, each time at another level. Every sample is really encoded and decoded: by the
default model, or by nano-24k if the decoder is `mbd`. Each command is a separate process, and its peak memory is what the
operating system reports after it has ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np
import soundfile

from ..codec.audio import resample_all, wave_header
from ..codec.default_model import DEFAULT_MODEL, GENERATOR_MODEL
from .corpus import CLIPS
from .options import KBPS, MINUTES, NEW_FILE
from .processor_name import processor_name
from .rows import write_json

ECDC = [sys.executable, "-m", "ecdc.cli"]


@dataclass(frozen=True)
class Sound:
    """The input: the bundled clip, repeated."""

    n_samples: int
    sample_rate: int  # Hz
    channels: int


STEREO, MONO = (44_100, 2), (24_000, 1)


@dataclass(frozen=True)
class Cost:
    """Time and memory of a command."""

    seconds: float
    peak_mb: float  # 10^6 bytes, resident


def blocks(sound: Sound) -> Iterator[np.ndarray]:
    """Yield blocks of 16-bit audio [n, C], `n_samples` in total."""
    audio, rate = soundfile.read(CLIPS / "music_cavern.flac", dtype="float32", always_2d=True)
    clip = resample_all(np.ascontiguousarray(audio.T[: sound.channels]), rate, sound.sample_rate).T
    levels = np.random.default_rng(0)
    left = sound.n_samples
    while left:
        block = clip[:left] * levels.uniform(0.2, 1.0)
        yield np.round(32_767 * np.clip(block, -1, 1)).astype("<i2")
        left -= len(block)


def wait(process: subprocess.Popen[bytes], began: float) -> Cost:
    """Wait for a process; raises ClickException if it failed."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(map(str, process.args))} failed")  # type: ignore[union-attr, arg-type]
    return Cost(time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e6)


def run(*args: str) -> Cost:
    """Run `ecdc ARGS` and return its cost."""
    began = time.perf_counter()
    return wait(subprocess.Popen([*ECDC, *args, "--quiet"]), began)


def through_files(
    sound: Sound, kbps: float, decoder: str = "conv", runtime: str = "auto", model: str = DEFAULT_MODEL
) -> tuple[dict[str, Cost], int]:
    """Return the costs of `ecdc encode` and `ecdc decode`, and the number of decoded samples."""
    with tempfile.TemporaryDirectory() as folder:
        wav, coded, back = (str(Path(folder) / name) for name in ("a.wav", "a.ecdc", "back.wav"))
        with soundfile.SoundFile(wav, "w", sound.sample_rate, sound.channels, "PCM_16") as file:
            for block in blocks(sound):
                file.write(block)
        options = () if decoder == "conv" else ("--decoder", decoder)
        encode = "encode", wav, "-o", coded, "--model", model, "--kbps", f"{kbps:g}", "--runtime", runtime
        costs = {"encode": run(*encode)}
        costs[" ".join(("decode", *options))] = run("decode", coded, "-o", back, *options, "--runtime", runtime)
        return costs, soundfile.info(back).frames


def feed(stream: BinaryIO, sound: Sound) -> None:
    """Write a WAV file of unknown length to `stream` and close it."""
    with stream:
        stream.write(wave_header(sound.sample_rate, sound.channels, None))
        for block in blocks(sound):
            stream.write(block.tobytes())


def through_pipes(sound: Sound, kbps: float) -> tuple[dict[str, Cost], int]:
    """Return the costs of both sides of `ecdc encode - -o - | ecdc decode - -o -`, and the number of decoded samples."""
    began = time.perf_counter()
    encoder = subprocess.Popen(
        [*ECDC, "encode", "-", "-o", "-", "--kbps", f"{kbps:g}", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    decoder = subprocess.Popen([*ECDC, "decode", "-", "-o", "-", "--quiet"], stdin=encoder.stdout, stdout=subprocess.PIPE)
    assert encoder.stdin and encoder.stdout and decoder.stdout
    encoder.stdout.close()  # only the decoder reads it
    writer = threading.Thread(target=feed, args=(encoder.stdin, sound))
    writer.start()
    n_bytes = 0
    while block := decoder.stdout.read(1 << 20):
        n_bytes += len(block)
    writer.join()
    costs = {"encode": wait(encoder, began), "decode": wait(decoder, began)}
    return costs, (n_bytes - len(wave_header(sound.sample_rate, sound.channels, None))) // (2 * sound.channels)


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return several measurements as one table."""
    lines = ["| model | what | command | seconds | x real time | peak memory |", "|---|---|---|---:|---:|---:|"]
    for one in found:
        kind = {1: "mono", 2: "stereo"}[one["channels"]]
        minutes = one["minutes"]
        length = f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"
        what = f"{length}, {one['sample_rate'] / 1000:g} kHz {kind}, " + (
            "through pipes" if one["pipes"] else "from file to file"
        )
        for name, cost in one["costs"].items():
            speed = 60 * one["minutes"] / cost["seconds"]
            figures = f"{cost['seconds']:.0f} | {speed:.0f} | {cost['peak_mb']:.0f} MB"
            lines.append(f"| {one['model']} | {what} | {name} | {figures} |")
    devices = list(dict.fromkeys(one["device"] for one in found))
    lines += ["", f"{found[0]['kbps']:g} kbps, {'; then '.join(devices)}; the output always had as many samples as the input."]
    return "\n".join(lines)


@click.command()
@click.option("--minutes", type=MINUTES, default=60.0, show_default=True)
@click.option("--kbps", type=KBPS, default=6.0, show_default=True)
@click.option("--pipes", is_flag=True, help="One pipeline instead of two commands with files.")
@click.option("--mono", is_flag=True, help="24 kHz mono instead of 44.1 kHz stereo.")
@click.option("--decoder", default="conv", show_default=True, help="As of ecdc decode; with files.")
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(minutes: float, kbps: float, pipes: bool, mono: bool, decoder: str, target: Path | None) -> None:
    """Encode and decode long audio and print a table."""
    rate, channels = MONO if mono else STEREO
    sound = Sound(round(minutes * 60 * rate), rate, channels)
    if pipes and decoder != "conv":
        raise click.UsageError("--decoder is for files")
    if decoder not in ("conv", "mbd") and not Path(decoder).is_file():
        raise click.UsageError(f"--decoder: {decoder}: no such file; give conv, mbd or a file of `ecdc train mbd`")
    model = DEFAULT_MODEL if decoder == "conv" else GENERATOR_MODEL  # the diffusion decoder is for tokens of nano-24k
    costs, n_back = through_pipes(sound, kbps) if pipes else through_files(sound, kbps, decoder, model=model)
    if n_back != sound.n_samples:
        raise click.ClickException(f"{sound.n_samples} samples went in, {n_back} came out")
    found: dict[str, Any] = {"model": model, "minutes": minutes, "kbps": kbps, "pipes": pipes, **asdict(sound)}
    found |= {
        "device": f"{processor_name()}, {os.cpu_count()} processors",
        "costs": {name: asdict(cost) for name, cost in costs.items()},
    }
    click.echo(markdown([found]))
    write_json(found, target)


if __name__ == "__main__":
    main()
