"""Time codecs side by side: in one process, on the same clip, in turns. Each receives it at its own rate.

    ecdc bench speed

To add a codec, add a function to `CONTENDERS`. Medians are compared, because other work on the
machine only adds time, in bursts. Random weights are as fast as trained ones.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import soundfile
import torch
from torch import Tensor

from ..codec.bundled import bundled_names
from ..codec.checkpoints import load
from ..codec.encodec_configs import ENCODEC_24KHZ
from ..codec.encodec_weights import convert
from ..codec.model import Codec
from .encodec_peer import random_encodec
from .options import COUNT, KBPS, NEW_FILE, SECONDS, SEED
from .processor_name import processor_name
from .rows import write_json

SAMPLE_RATE = 24_000  # Hz, of EnCodec and Opus
MEMORY_SECONDS = 60.0  # length of the clip for the memory measurement


@dataclass
class Contender:
    """A codec to time, and the times of its calls in seconds."""

    name: str
    encode: Callable[[Tensor], Any]  # [1, 1, N] -> the input of `decode`
    decode: Callable[[Any], Any]
    codec: Codec | None = None  # ours, for streaming
    sample_rate: int = SAMPLE_RATE  # Hz
    encode_times: list[float] = field(default_factory=list)
    decode_times: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Speed:
    """A row of the table; spreads are interquartile ranges as fractions of the medians."""

    codec: str
    threads: int
    encode_x: float  # times real time
    encode_spread: float
    decode_x: float
    decode_spread: float
    encode_ratio: float  # to the first contender
    decode_ratio: float


def clip(seconds: float, seed: int, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Return tones and noise with a periodic level, at `sample_rate` in Hz: [1, 1, N]."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(seconds * sample_rate)) / sample_rate
    tones = torch.sin(2 * torch.pi * 220 * t) + torch.sin(2 * torch.pi * 1234 * t)
    swell = 0.5 + 0.5 * torch.sin(2 * torch.pi * 1.7 * t)
    return (swell * (0.2 * tones + 0.1 * torch.randn(t.shape, generator=generator)))[None, None]


def peer_encodec(kbps: float, seed: int) -> Any:
    """Return PyPI's EnCodec for 24 kHz with random weights."""
    torch.manual_seed(seed)
    peer = random_encodec(ENCODEC_24KHZ, clip(10, seed=seed + 1))
    peer.set_target_bandwidth(kbps)
    return peer


def our_encodec(kbps: float, seed: int) -> Codec:
    """Return our EnCodec with the weights of `peer_encodec`."""
    codec = Codec(ENCODEC_24KHZ)
    codec.load_state_dict(convert(peer_encodec(kbps, seed).state_dict(), codec, Path("PyPI encodec")))
    return codec.ready()


def _peer(kbps: float, seed: int) -> Contender:
    peer = peer_encodec(kbps, seed)
    return Contender("EnCodec 24 kHz, PyPI", torch.no_grad()(peer.encode), torch.no_grad()(peer.decode))


def _our_encodec(kbps: float, seed: int) -> Contender:
    codec = our_encodec(kbps, seed)
    return Contender("EnCodec 24 kHz, ours", lambda wav: codec.encode(wav, kbps), codec.decode, codec)


def _bundled(kbps: float, seed: int, name: str) -> Contender:
    codec = load(name)
    return Contender(name, lambda wav: codec.encode(wav, kbps), codec.decode, codec, codec.sample_rate)


def _opus(kbps: float, seed: int) -> Contender:
    """Return libopus in libsndfile, at its default bitrate and complexity, always on one thread."""

    def encode(wav: Tensor) -> bytes:
        stream = io.BytesIO()
        soundfile.write(stream, wav[0, 0].numpy(), SAMPLE_RATE, format="OGG", subtype="OPUS")
        return stream.getvalue()

    return Contender("Opus, libsndfile", encode, lambda data: soundfile.read(io.BytesIO(data), dtype="float32"))


CONTENDERS: tuple[Callable[[float, int], Contender], ...] = (
    _peer, _our_encodec, *(partial(_bundled, name=name) for name in bundled_names()), _opus,
)  # fmt: skip


def time_all(all_: Sequence[Contender], seconds: float, seed: int, repeats: int) -> None:
    """Fill in the times for a clip at each contender's rate, with the contenders in turns. The first turn is not counted."""
    clips = {rate: clip(seconds, seed, rate) for rate in {contender.sample_rate for contender in all_}}
    for contender in all_:
        contender.encode_times, contender.decode_times = [], []
    for turn in range(repeats + 1):
        for contender in all_:
            began = time.perf_counter()
            codes = contender.encode(clips[contender.sample_rate])
            encoded = time.perf_counter()
            contender.decode(codes)
            decoded = time.perf_counter()
            if turn:
                contender.encode_times.append(encoded - began)
                contender.decode_times.append(decoded - encoded)


def speeds(all_: Sequence[Contender], seconds: float, threads: int) -> Iterator[Speed]:
    """Yield a row for each contender after `time_all`."""
    first = all_[0]
    for contender in all_:
        encode, decode = (_figures(times, seconds) for times in (contender.encode_times, contender.decode_times))
        ratios = (
            median(first.encode_times) / median(contender.encode_times),
            median(first.decode_times) / median(contender.decode_times),
        )
        yield Speed(contender.name, threads, *encode, *decode, round(ratios[0], 3), round(ratios[1], 3))


def _figures(times: list[float], seconds: float) -> tuple[float, float]:
    """Return the speed in times real time, and its spread."""
    low, middle, high = quantiles(times, n=4)
    return round(seconds / middle, 2), round((high - low) / middle, 3)


def latency(contender: Contender, kbps: float, repeats: int) -> dict[str, float] | None:
    """Measure the latency of a stream fed with an eighth of a frame at a time, in milliseconds.

    `first_sample_ms`: input needed before the first sample comes out (EnCodec's reflection padding adds to it);
    `delay_ms`: the largest such delay later on; `work_per_frame_ms`: median time of the calls with output, to compare with
    `frame_ms`. Returns None for codecs without streaming.
    """
    codec = contender.codec
    if codec is None:
        return None
    hop, rate = codec.config.hop_length, codec.sample_rate
    wav, n_codebooks = clip(1.0 + repeats * hop / rate, 0, rate), codec.config.codebooks_for(kbps)
    n_in, n_out, first, delay, times = 0, 0, 0, 0, []
    with codec.streaming() as stream:
        for block in wav.split(hop // 8, dim=-1):
            began = time.perf_counter()
            out = stream.decode(stream.encode(block, n_codebooks=n_codebooks)).shape[-1]
            n_in += block.shape[-1]
            if out:
                first = first or n_in
                if n_out > 20 * hop:
                    delay = max(delay, n_in - n_out)
                    times.append(time.perf_counter() - began)
                n_out += out
    figures = {"first_sample_ms": first, "delay_ms": delay, "frame_ms": hop}
    return {name: round(1000 * n / rate, 2) for name, n in figures.items()} | {
        "work_per_frame_ms": round(1000 * median(times), 2)
    }


def peak_memory(index: int, kbps: float, seed: int) -> float:
    """Return the peak memory in megabytes (10^6 bytes) of a process that codes MEMORY_SECONDS with one contender."""
    torch.set_num_threads(1)
    contender = CONTENDERS[index](kbps, seed)
    contender.decode(contender.encode(clip(MEMORY_SECONDS, seed, contender.sample_rate)))
    # VmHWM starts from zero in each program; ru_maxrss starts with the peak of the parent.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def flips(wav: Tensor, kbps: float, seed: int) -> dict[str, int]:
    """Count the codes that differ from PyPI's: none are expected on the reference path, very few on the fast path."""
    peer, codec = peer_encodec(kbps, seed), our_encodec(kbps, seed)
    with torch.no_grad():
        wanted = peer.encode(wav)[0][0]
    fast = codec.encode(wav, kbps)
    exact = codec.ready(reference=True).encode(wav, kbps)
    return {"codes": wanted.numel(), "fast": int((fast != wanted).sum()), "reference": int((exact != wanted).sum())}


def measure(seconds: float, kbps: float, repeats: int, threads: Sequence[int], seed: int) -> dict[str, Any]:
    """Measure all figures and return them as JSON-compatible values."""
    all_ = [make(kbps, seed) for make in CONTENDERS]
    rows: list[Speed] = []
    for n_threads in threads:
        torch.set_num_threads(n_threads)
        time_all(all_, seconds, seed, repeats)
        rows += speeds(all_, seconds, n_threads)
    torch.set_num_threads(1)
    latencies = {contender.name: found for contender in all_ if (found := latency(contender, kbps, repeats))}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        peaks = [round(pool.submit(peak_memory, i, kbps, seed).result()) for i in range(len(CONTENDERS))]
    return {
        "device": processor_name(),
        "torch": torch.__version__,
        "settings": {"seconds": seconds, "kbps": kbps, "repeats": repeats, "seed": seed},
        "rows": [asdict(row) for row in rows],
        "latency": latencies,
        "peak_mb": {contender.name: peak for contender, peak in zip(all_, peaks, strict=True)},
        "flips": flips(clip(seconds, seed), kbps, seed),
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the results of `measure` as a paragraph and two tables."""
    s, n = found["settings"], found["flips"]
    lines = [
        f"{s['seconds']:g} s at {s['kbps']:g} kbps, float32, {found['device']}, torch {found['torch']}; medians of "
        f"{s['repeats']} turns in one process (spread: interquartile range); both EnCodecs have the same random weights.",
        "",
        "| codec | threads | encode, x real time | ratio | decode, x real time | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['codec']} | {row['threads']} | "
            f"{row['encode_x']:.0f} ± {row['encode_spread']:.0%} | {row['encode_ratio']:.2f} | "
            f"{row['decode_x']:.0f} ± {row['decode_spread']:.0%} | {row['decode_ratio']:.2f} |"
        )
    lines += [
        "",
        "| codec | first sample after | delay later | work per frame | peak memory, 60 s at once |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, peak in found["peak_mb"].items():
        late = found["latency"].get(name)
        cells = ["-"] * 3
        if late:
            cells = [f"{late[key]:.0f} ms" for key in ("first_sample_ms", "delay_ms")]
            cells.append(f"{late['work_per_frame_ms']:.1f} of {late['frame_ms']:.1f} ms")
        lines.append(f"| {name} | {' | '.join(cells)} | {peak} MB |")
    lines += [
        "",
        f"Of {n['codes']} codes, {n['reference']} differ from PyPI's on the reference path, {n['fast']} on the fast one.",
    ]
    return "\n".join(lines)


@click.command("speed")
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="Length of the clip.")
@click.option("--kbps", type=KBPS, default=6.0, show_default=True)
@click.option("--repeats", type=click.IntRange(2), default=9, show_default=True, help="Turns that count.")
@click.option("--threads", type=COUNT, multiple=True, help="Threads; may be repeated. Default: 1 and all.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(seconds: float, kbps: float, repeats: int, threads: tuple[int, ...], seed: int, target: Path | None) -> None:
    """Time encoding and decoding beside EnCodec and Opus; latency and memory."""
    found = measure(seconds, kbps, repeats, threads or sorted({1, os.cpu_count() or 1}), seed)
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
