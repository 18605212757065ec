"""Time codecs side by side: one process, the same clip, repeats taken in turns.

    python -m ecdc.bench.speed

A codec is added by a line in `contenders`. Medians are compared, because other work on the
machine only ever adds time, and in bursts.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import torch
from torch import Tensor

from ..codec.checkpoints import load
from ..codec.convert import convert
from ..codec.model import Codec
from ..codec.published import ENCODEC_24KHZ
from .encodec_peer import random_encodec

SAMPLE_RATE = 24_000  # Hz, of all contenders


@dataclass
class Contender:
    """A codec to time, and how long its calls took, in seconds."""

    name: str
    encode: Callable[[Tensor], Any]  # [1, 1, N] -> what `decode` takes
    decode: Callable[[Any], Tensor]
    encode_times: list[float] = field(default_factory=list)
    decode_times: list[float] = field(default_factory=list)


def clip(seconds: float, seed: int) -> Tensor:
    """Tones and noise that swell and fade: [1, 1, N]."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = torch.sin(2 * torch.pi * 220 * t) + torch.sin(2 * torch.pi * 1234 * t)
    swell = 0.5 + 0.5 * torch.sin(2 * torch.pi * 1.7 * t)
    return (swell * (0.2 * tones + 0.1 * torch.randn(t.shape, generator=generator)))[None, None]


def encodec_pair(kbps: float, seed: int) -> tuple[Any, Codec]:
    """PyPI's EnCodec and ours with the same random weights, both at a bitrate."""
    torch.manual_seed(seed)
    peer = random_encodec(ENCODEC_24KHZ, clip(10, seed=seed + 1))
    peer.set_target_bandwidth(kbps)
    codec = Codec(ENCODEC_24KHZ)
    codec.load_state_dict(convert(peer.state_dict(), codec, Path("PyPI encodec")))
    return peer, codec.ready()


def contenders(peer: Any, codec: Codec, kbps: float) -> Iterator[Contender]:
    """Those whose times are taken; ratios are to the first."""
    yield Contender("EnCodec 24 kHz, PyPI", torch.no_grad()(peer.encode), torch.no_grad()(peer.decode))
    yield Contender("EnCodec 24 kHz, ours", lambda wav: codec.encode(wav, kbps), codec.decode)
    nano = load("nano-24k")
    yield Contender("nano-24k", lambda wav: nano.encode(wav, kbps), nano.decode)


def time_all(all_: list[Contender], wav: Tensor, repeats: int) -> None:
    """Fill in the times, the contenders taking turns; a first turn is not counted."""
    for turn in range(repeats + 1):
        for contender in all_:
            began = time.perf_counter()
            codes = contender.encode(wav)
            encoded = time.perf_counter()
            contender.decode(codes)
            decoded = time.perf_counter()
            if turn:
                contender.encode_times.append(encoded - began)
                contender.decode_times.append(decoded - encoded)


def table(all_: list[Contender], seconds: float) -> Iterator[str]:
    """Lines of Markdown: the median, the interquartile range as its share, and the ratio to the first contender."""
    yield "| codec | encode s | x real time | spread | ratio | decode s | x real time | spread | ratio |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for contender in all_:
        cells = [contender.name]
        for times, first in ((contender.encode_times, all_[0].encode_times), (contender.decode_times, all_[0].decode_times)):
            low, middle, high = quantiles(times, n=4)
            cells += [
                f"{middle:.3f}",
                f"{seconds / middle:.1f}",
                f"{(high - low) / middle:.0%}",
                f"{median(first) / middle:.2f}",
            ]
        yield "| " + " | ".join(cells) + " |"


def flips(peer: Any, codec: Codec, wav: Tensor, kbps: float) -> str:
    """How many codes differ from the peer's: none on the reference path, hardly any on the fast one."""
    with torch.no_grad():
        wanted = peer.encode(wav)[0][0]
    fast, exact = codec.encode(wav, kbps), codec.ready(reference=True).encode(wav, kbps)
    codec.ready()
    n_fast, n_exact = int((fast != wanted).sum()), int((exact != wanted).sum())
    return f"Codes that differ from PyPI's, of {wanted.numel()}: {n_exact} on the reference path, {n_fast} on the fast path."


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@click.command()
@click.option("--seconds", default=10.0, show_default=True, help="Length of the clip.")
@click.option("--kbps", default=6.0, show_default=True)
@click.option("--repeats", default=9, show_default=True, help="Turns that count.")
@click.option("--threads", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(seconds: float, kbps: float, repeats: int, threads: int, seed: int) -> None:
    """Time encoding and decoding, and print a table."""
    torch.set_num_threads(threads)
    wav = clip(seconds, seed)
    peer, codec = encodec_pair(kbps, seed)
    all_ = list(contenders(peer, codec, kbps))
    time_all(all_, wav, repeats)
    click.echo(f"{seconds:g} s at {kbps:g} kbps, float32, {threads} thread(s) of {processor()}, torch {torch.__version__}")
    click.echo(f"Medians of {repeats} turns; spread is the interquartile range; random weights, seed {seed}.\n")
    click.echo("\n".join(table(all_, seconds)))
    click.echo("\n" + flips(peer, codec, wav, kbps))


if __name__ == "__main__":
    main()
