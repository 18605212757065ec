"""Compare the runtime without PyTorch with PyTorch, in turns: steps of a stream, whole commands, memory, size on disk.

    ecdc bench light                          # everything, in about ten minutes
    ecdc bench light --only encodec --json bench/results/light.json      # rows of other parts and models stay there
    ecdc bench light --codes 1000000          # and that as many codes of real audio are equal
    ecdc bench light --only step --threads 1

Medians are compared. Steps are of one frame; commands are whole processes, from start to end.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import numpy as np
import soundfile
import torch

from ..codec.audio import resample_all
from ..codec.bundled import bundled_names
from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline_parts import to_array
from ..codec.runtime import open_codec
from ..codec.threads import settle
from ..format.errors import ArgumentError
from .corpus import CLIPS
from .memory import Sound, through_files
from .options import COUNT, MINUTES, NEW_FILE
from .processor_name import processor_name
from .rows import read_json, write_json

RUNTIMES = "onnx", "torch"
PARTS = ("step", "block", "encodec", "command", "memory", "size", "codes")
OTHERS = {"encodec": "EnCodec 24 kHz", "size": ""}  # parts that do not measure the chosen model, and what they measure
STREAMS = 1, 8, 64
KBPS = 6.0
ECDC = [sys.executable, "-m", "ecdc.cli"]
Row = dict[str, Any]


def speech(seconds: float, sample_rate: int) -> np.ndarray:
    """Return speech of any length, at `sample_rate` in Hz: float32 [N]."""
    audio, rate = soundfile.read(CLIPS / "speech_it.flac", dtype="float32")
    clip = resample_all(audio[None], rate, sample_rate)[0]
    return np.resize(clip, round(sample_rate * seconds)).astype(np.float32)


def timed(
    calls: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Run every call `repeats` times, in turns; returns the seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            began = clock()
            call()
            times[name].append(clock() - began)
    return times


def rows_of(part: str, what: str, times: dict[str, list[float]], **facts: Any) -> Iterator[Row]:
    """Yield a row per runtime: median and interquartile range in seconds, and the share of torch's time."""
    middle = {name: median(values) for name, values in times.items()}
    for name, values in times.items():
        low, _, high = quantiles(values, n=4)
        row = {"part": part, "what": what, "runtime": name, "seconds": middle[name], "spread": (high - low) / middle[name]}
        yield row | {"of_torch": middle[name] / middle["torch"]} | facts


def step_rows(codecs: dict[str, Any], n_streams: int, repeats: int) -> Iterator[Row]:
    """Time the steps of `n_streams` streams at once, one frame each: encode, decode, and both."""
    hop = codecs["onnx"].config.hop_length
    wav = np.tile(speech(1, codecs["onnx"].sample_rate)[None, None], (n_streams, 1, 1))
    found: dict[str, dict[str, list[float]]] = {"encode": {}, "decode": {}, "encode + decode": {}}
    open_streams = {name: codec.streaming(n_streams) for name, codec in codecs.items()}
    streams = {name: opened.__enter__() for name, opened in open_streams.items()}
    for i in range(repeats + 20):
        begin = i * hop % (wav.shape[-1] - hop)
        for name, stream in streams.items():
            began = time.perf_counter()
            codes = to_array(stream.encode(wav[..., begin : begin + hop], KBPS))
            middle = time.perf_counter()
            stream.decode(codes)
            end = time.perf_counter()
            if i >= 20:  # the first steps allocate
                times = {"encode": middle - began, "decode": end - middle, "encode + decode": end - began}
                for what, seconds in times.items():
                    found[what].setdefault(name, []).append(seconds)
    for opened in open_streams.values():
        opened.__exit__(None, None, None)
    frame = 1 / float(codecs["onnx"].config.frame_rate)
    for what, by_runtime in found.items():
        for row in rows_of("step", f"{what}, {n_streams} streams", by_runtime):
            yield row | {"streams_per_core": n_streams * frame / row["seconds"]}


def block_rows(codecs: dict[str, Any], repeats: int) -> Iterator[Row]:
    """Time ten seconds at once; then again in processor time, which other programs disturb less."""
    wav = speech(10, codecs["onnx"].sample_rate)[None, None]
    codes = codecs["onnx"].encode(wav, KBPS)
    encoding = {name: partial(codec.encode, wav, KBPS) for name, codec in codecs.items()}
    decoding = {name: partial(codec.decode, codes) for name, codec in codecs.items()}
    for what, calls in (("encode 10 s", encoding), ("decode 10 s", decoding)):
        timed(calls, 1)
        rows = list(rows_of("block", what, timed(calls, repeats)))
        busy = timed(calls, repeats, time.process_time)
        for row in rows:
            yield row | {"x_real_time": 10 / row["seconds"], "processor_ms": 1000 * median(busy[row["runtime"]])}


def encodec_rows(repeats: int) -> Iterator[Row]:
    """Time ten seconds at once for EnCodec's 24 kHz model with random weights, and for PyPI's package with the same ones."""
    from ..codec.checkpoints import save
    from ..codec.light.export import write_structures
    from ..codec.light.load import load_light
    from .speed import our_encodec, peer_encodec

    wav = speech(10, 24_000)[None, None]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        codec, peer, tensor = our_encodec(6.0, 0), peer_encodec(6.0, 0), torch.from_numpy(wav)
        save(codec, folder)
        write_structures(Path(folder))
        light = load_light(Path(folder))
        codes, frames = light.encode(wav, 6), peer.encode(tensor)
        encoding: dict[str, Callable[[], object]] = {
            "onnx": lambda: light.encode(wav, 6),
            "torch": lambda: codec.encode(tensor, 6),
            "encodec": lambda: peer.encode(tensor),
        }
        decoding: dict[str, Callable[[], object]] = {
            "onnx": lambda: light.decode(codes),
            "torch": lambda: codec.decode(codes),
            "encodec": lambda: peer.decode(frames),
        }
        for what, calls in (("EnCodec, encode 10 s", encoding), ("EnCodec, decode 10 s", decoding)):
            timed(calls, 1)
            for row in rows_of("encodec", what, timed(calls, repeats)):
                yield row | {"x_real_time": 10 / row["seconds"]}


def command_rows(model: str, repeats: int) -> Iterator[Row]:
    """Time whole processes: `ecdc encode` and `ecdc decode` of five seconds, and importing what a program needs."""
    with tempfile.TemporaryDirectory() as folder:
        wav, coded, back = (str(Path(folder) / name) for name in ("a.wav", "a.ecdc", "b.wav"))
        rate = open_codec(model).sample_rate
        soundfile.write(wav, speech(5, rate), rate)

        # An installed package has its modules compiled; so has a checkout after its first run, unless this variable forbids it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

        def run(*command: str) -> Callable[[], object]:
            return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)

        def runtimes(*command: str) -> dict[str, Callable[[], object]]:
            return {name: run(*ECDC, *command, "--force", "--runtime", name) for name in RUNTIMES}

        python = sys.executable, "-c"
        groups = {
            "ecdc encode, 5 s": runtimes("encode", wav, "--model", model, "-o", coded),
            "ecdc decode, 5 s": runtimes("decode", coded, "-o", back),
            "import ecdc": {name: run(*python, "import ecdc") for name in RUNTIMES},
            "import and open the model": {
                "onnx": run(*python, f"import ecdc; ecdc.open_codec('{model}').session('decoder.onnx')"),
                "torch": run(*python, f"import ecdc; ecdc.load('{model}')"),
            },
        }
        for what, calls in groups.items():
            timed(calls, 1)  # fills the caches of the disk and of numba
            processor: dict[str, list[float]] = {name: [] for name in calls}
            metered = {name: partial(meter, call, processor[name]) for name, call in calls.items()}
            for row in rows_of("command", what, timed(metered, repeats)):
                yield row | {"processor_ms": 1000 * median(processor[row["runtime"]])}


def meter(call: Callable[[], object], seconds: list[float]) -> None:
    """Call, and append the processor time of the child processes that ended meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def memory_rows(model: str, minutes: float) -> Iterator[Row]:
    """Measure the peak memory of whole commands on long stereo."""
    for name in RUNTIMES:
        costs, _ = through_files(Sound(round(minutes * 60 * 44_100), 44_100, 2), KBPS, runtime=name, model=model)
        for command, cost in costs.items():
            yield {
                "part": "memory", "what": f"ecdc {command}, {minutes:g} min of stereo", "runtime": name,
                "seconds": cost.seconds, "peak_mb": cost.peak_mb,
            }  # fmt: skip


def size_rows() -> Iterator[Row]:
    """Install this tree into a fresh environment, without extras, and measure it; needs a package index."""
    root = Path(__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        raise click.ClickException("the size is measured in a clone of the repository; leave it out with --only")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        before = disk_mb(Path(folder))
        subprocess.run([f"{folder}/bin/python", "-m", "pip", "install", "--quiet", str(root)], check=True, capture_output=True)
        packages = next(Path(folder).glob("lib/python*/site-packages"))
        parts = {path.name: disk_mb(path) for path in packages.iterdir() if path.is_dir() and not path.name.startswith("pip")}
        largest = dict(sorted(parts.items(), key=lambda item: -item[1])[:8])
        mb = disk_mb(Path(folder)) - before
        shown = ", ".join(f"{name} {size:.0f}" for name, size in largest.items())
        yield {"part": "size", "what": "pip install .", "runtime": "onnx", "mb": mb, "largest": f"the largest: {shown}"}


def disk_mb(folder: Path) -> float:
    """Return the size of a folder's files in 10^6 bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def codes_rows(model: str, codecs: dict[str, Any], wanted: int, packed: Path | None) -> Iterator[Row]:
    """Count the codes in which the runtimes differ, over `wanted` codes of the bundled clips, or of packed audio."""
    n_codes = n_different = 0
    graph = open_codec(model, "onnx")
    graph.prefers_graph = True  # the exported encoder; without it, a model whose weights are here encodes in numpy
    for wav in signals(packed, graph.sample_rate):
        codes, *others = (to_array(codec.encode(wav[None, None])) for codec in (codecs["torch"], codecs["onnx"], graph))
        n_codes += codes.size
        n_different += sum(int((codes != other).sum()) for other in others)
        if n_codes >= wanted:
            break
    yield {"part": "codes", "what": "codes that differ", "runtime": "onnx", "codes": n_codes, "different": n_different}


def signals(packed: Path | None, sample_rate: int, seconds: float = 20) -> Iterator[np.ndarray]:
    """Yield audio at `sample_rate` in Hz, float32 [N]: pieces of packed audio, or the bundled clips at changing levels."""
    rng = np.random.default_rng(0)
    if packed is not None:
        rate = json.loads((packed / "format.json").read_text()).get("sample_rate", 24_000)
        samples = np.memmap(sorted(packed.glob("*.i16"))[0], "<i2", "r")
        while True:
            begin = int(rng.integers(0, len(samples) - round(seconds * rate)))
            piece = samples[begin : begin + round(seconds * rate)].astype(np.float32) / 32_768
            yield resample_all(piece[None], rate, sample_rate)[0]
    while True:
        for path in sorted(CLIPS.glob("*.flac")):
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
            level = np.float32(10 ** rng.uniform(-2, 0))
            for channel in resample_all(np.ascontiguousarray(audio.T), rate, sample_rate):
                yield channel * level


def markdown(found: dict[str, Any]) -> str:
    """Return a table of the rows of a measurement."""
    lines = ["| model | what | runtime | ms | spread | share of torch's time | more |", "|---|---|---|---:|---:|---:|---|"]
    texts = {
        "streams_per_core": "{:.0f} streams per core", "processor_ms": "{:.0f} ms of processor time",
        "x_real_time": "{:.0f}x real time", "peak_mb": "{:.0f} MB at most",
        "mb": "{:.0f} MB", "largest": "{}", "codes": "of {}", "different": "{}", "threads": "{} threads",
    }  # fmt: skip
    for row in found["rows"]:
        more = ", ".join(text.format(row[key]) for key, text in texts.items() if key in row)
        ms = f"{1000 * row['seconds']:.2f}" if "seconds" in row else ""
        spread, share = (f"{100 * row[key]:.0f}%" if key in row else "" for key in ("spread", "of_torch"))
        lines.append(f"| {row['model']} | {row['what']} | {row['runtime']} | {ms} | {spread} | {share} | {more} |")
    return "\n".join([*lines, "", f"{KBPS:g} kbps, {'; '.join(machines(found['rows']))}."])


def machines(rows: list[Row]) -> list[str]:
    """Return the machines on which rows were measured; of all but the first, what was measured there."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["device"], []).append(f"{row['model']} {row['what']}".strip())
    first, *others = found
    return [first, *(f"{name} ({', '.join(dict.fromkeys(found[name]))})" for name in others)]


def table(found: dict[str, Any]) -> str:
    """Return the table for the documentation, without the halves of a step."""
    rows = [row for row in found["rows"] if row["part"] != "step" or row["what"].startswith("encode +")]
    return markdown(found | {"rows": rows})


def with_other_parts(rows: list[Row], path: Path) -> list[Row]:
    """Return new rows, and those of a file for parts and models that were not measured now, in the order of the parts.

    Raises ArgumentError if the file holds something else.
    """
    old = read_json(path) if path.is_file() else {"rows": []}
    if not isinstance(old, dict) or any(row.get("part") not in PARTS or "model" not in row for row in old.get("rows", [{}])):
        raise ArgumentError(f"{path}: does not hold rows of `ecdc bench light`; give another file with --json")
    old = old["rows"]
    measured = {(row["part"], row["model"]) for row in rows}
    kept = [row for row in old if (row["part"], row["model"]) not in measured]
    return sorted(rows + kept, key=lambda row: PARTS.index(row["part"]))


@click.command()
@click.option("--model", type=click.Choice(bundled_names()), default=DEFAULT_MODEL, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure only this part; may be repeated.")
@click.option("--threads", type=click.IntRange(1, 64), multiple=True, default=(1, 2), show_default=True)
@click.option("--repeats", type=click.IntRange(5), default=15, show_default=True, help="Turns of commands and blocks.")
@click.option("--minutes", type=MINUTES, default=10.0, show_default=True, help="Length of the audio for peak memory.")
@click.option("--codes", type=COUNT, default=100_000, show_default=True, help="Codes to compare.")
@click.option("--packed", type=click.Path(exists=True, path_type=Path), help="Packed audio for the comparison of codes.")
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too; other parts keep theirs.")
def main(
    model: str, only: tuple[str, ...], threads: tuple[int, ...], repeats: int, minutes: float, codes: int, packed: Path | None,
    target: Path | None,
) -> None:  # fmt: skip
    """Compare the runtime without PyTorch with PyTorch, in turns."""
    if target:
        with_other_parts([], target)  # raises before anything is measured
    chosen = only or PARTS
    rows = list(threaded_rows(model, chosen, threads, repeats, codes, packed))
    parts = {
        "command": lambda: command_rows(model, repeats), "memory": lambda: memory_rows(model, minutes), "size": size_rows,
    }  # fmt: skip
    for name, measure in parts.items():
        if name in chosen:
            rows += measure()
    device = f"{processor_name()}, {os.cpu_count()} processors"
    rows = [{"model": OTHERS.get(row["part"], model), **row, "device": device} for row in rows]
    click.echo(markdown({"rows": rows}))
    if target:
        write_json({"rows": with_other_parts(rows, target)}, target)
    if any(row.get("different") for row in rows):
        raise click.ClickException("the runtimes gave different codes")


def threaded_rows(
    model: str, chosen: Collection[str], threads: tuple[int, ...], repeats: int, codes: int, packed: Path | None
) -> Iterator[Row]:
    """Yield the rows of the parts that run in this process, for each number of threads; codes are compared once."""
    for number in threads if set(chosen) & {"step", "block", "encodec", "codes"} else ():
        settle(number)
        codecs = {name: open_codec(model, name) for name in RUNTIMES}
        rows: list[Row] = []
        if "step" in chosen:
            rows += [row for n in STREAMS for row in step_rows(codecs, n, 20 * repeats if n == 1 else 4 * repeats)]
        if "block" in chosen:
            rows += block_rows(codecs, repeats)
        if "encodec" in chosen:
            rows += encodec_rows(repeats)
        yield from (row | {"threads": number} for row in rows)
        if "codes" in chosen and number == threads[0]:
            yield from codes_rows(model, codecs, codes, packed)


if __name__ == "__main__":
    main()
