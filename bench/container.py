"""Time the container against the bit packer of PyPI's encodec, and measure its overhead in bytes.

    ecdc bench container

Our packing and unpacking are timed after one uncounted call, which loads the compiled kernels. The
reference implementation packs one code at a time in Python, so it gets a shorter span, and rates are compared.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ..format import Header, Reader, Writer
from ..format.bitpack import pack_codes, unpack_codes
from ..format.timing import packed_bytes
from .encodec_peer import import_encodec
from .options import COUNT, NEW_FILE, SECONDS, SEED
from .processor_name import processor_name
from .rows import write_json

FRAME_RATE = 75  # frames per second
BITS = 10  # per code


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    value: str
    target: str
    spread: str = ""  # interquartile range as a fraction of the median


def header_for(n_codebooks: int) -> Header:
    return Header(
        codec="bench",
        token_space=bytes(32),
        sample_rate=24_000,
        original_sample_rate=24_000,
        hop_length=24_000 // FRAME_RATE,
        codebook_size=1 << BITS,
        max_codebooks=n_codebooks,
    )


def random_codes(seconds: float, n_codebooks: int, seed: int) -> NDArray[np.uint16]:
    """Return random codes [K, T] uint16."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << BITS, (n_codebooks, round(seconds * FRAME_RATE)), np.uint16)


def stream_of(codes: NDArray[np.uint16]) -> bytes:
    """Return a complete stream of codes [K, T], with chunks of the default length."""
    stream = io.BytesIO()
    with Writer(stream, header_for(len(codes))) as writer:
        writer.append(codes)
    return stream.getvalue()


def take(action: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each repeat, after one uncounted call."""
    times = []
    for turn in range(repeats + 1):
        began = time.perf_counter()
        action()
        times += [time.perf_counter() - began] if turn else []
    return times


def spread(times: list[float]) -> str:
    low, middle, high = quantiles(times, n=4)
    return f"{(high - low) / middle:.0%}"


def timed(what: str, target: str, times: list[float]) -> Figure:
    return Figure(what, f"{1000 * median(times):.2f} ms", target, spread(times))


def stream_figures(codes: NDArray[np.uint16], path: Path, repeats: int) -> Iterator[Figure]:
    """Time complete streams in memory, and opening a file on disk."""
    data = stream_of(codes)
    path.write_bytes(data)

    def open_with_index() -> int | None:
        with path.open("rb") as file:
            return Reader(file).n_frames

    times = take(lambda: pack_unpack(codes), repeats)
    yield timed("pack + unpack, the whole", "< 50 ms", times)
    yield timed("write the stream (chunks, CRCs, END)", "", take(lambda: stream_of(codes), repeats))
    yield timed("read it, every checksum verified", "", take(lambda: Reader(io.BytesIO(data)).codes(), repeats))
    yield timed("open it as a file: header + index", "< 5 ms", take(open_with_index, 3 * repeats))


def pack_unpack(codes: NDArray[np.uint16]) -> None:
    """Convert codes [K, T] to payload bytes and back."""
    data = pack_codes(codes.T.ravel(), BITS)
    unpack_codes(data, codes.size, BITS).reshape(codes.shape[1], len(codes)).T  # noqa: B018


def peer_pack_unpack(codes: NDArray[np.uint16]) -> None:
    """Do the same with BitPacker and BitUnpacker of PyPI's encodec, called as in its compress.py."""
    package = import_encodec()
    stream = io.BytesIO()
    packer = package.binary.BitPacker(BITS, stream)
    for frame in codes.T.tolist():
        for code in frame:
            packer.push(code)
    packer.flush()
    stream.seek(0)
    unpacker = package.binary.BitUnpacker(BITS, stream)
    for _ in range(codes.size):
        unpacker.pull()


def peer_figures(codes: NDArray[np.uint16], peer_seconds: float, repeats: int) -> Iterator[Figure]:
    """Time both implementations in turns on the same codes, and ours on the whole stream for a comparison per code."""
    part = np.ascontiguousarray(codes[:, : round(peer_seconds * FRAME_RATE)])
    pack_unpack(codes)
    peer_pack_unpack(part[:, :75])
    ours, theirs, whole = [], [], []
    for _ in range(repeats):
        ours += take(lambda: pack_unpack(part), 1)
        theirs += take(lambda: peer_pack_unpack(part), 1)
        whole += take(lambda: pack_unpack(codes), 1)
    yield timed(f"pack + unpack, {peer_seconds:g} s of it, ours", "", ours)
    yield timed(f"pack + unpack, {peer_seconds:g} s of it, PyPI encodec", "", theirs)
    same = [b / a for a, b in zip(ours, theirs, strict=True)]
    yield Figure("ratio on those codes", f"{median(same):.0f}x", "100x", spread(same))
    scaled = [b / a * codes.size / part.size for a, b in zip(whole, theirs, strict=True)]
    yield Figure("ratio per code, ours over the whole hour", f"{median(scaled):.0f}x", "100x", spread(scaled))


def overhead_figures(codes: NDArray[np.uint16]) -> Iterator[Figure]:
    """Measure the bytes of a complete stream that are not payload, at 6 and 1.5 kbps."""
    for n_codebooks, target in ((8, "< 2 %"), (2, "< 5 %")):
        part = codes[:n_codebooks]
        payload = packed_bytes(part.size, BITS)
        share = (len(stream_of(part)) - payload) / payload
        kbps = FRAME_RATE * n_codebooks * BITS / 1000
        yield Figure(f"bytes beside the payload, {kbps:g} kbps", f"{share:.2%}", target)


def info_figure(path: Path, repeats: int) -> Figure:
    """Time a new process of `ecdc info`, including the start of the interpreter."""
    command = [sys.executable, "-c", "from ecdc.cli.main import main; main()", "info", str(path)]
    times = take(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), repeats)
    return timed("`ecdc info` on that file, whole process", "< 500 ms", times)


def markdown(found: dict[str, Any]) -> str:
    """Return the results of `main` as a paragraph and a table."""
    lines = [found["about"], "", "| what | measured | spread | target |", "|---|---:|---:|---:|"]
    lines += [f"| {row['what']} | {row['value']} | {row['spread']} | {row['target']} |" for row in found["rows"]]
    return "\n".join(lines)


@click.command()
@click.option("--seconds", type=SECONDS, default=3600.0, show_default=True, help="Length of the stream.")
@click.option("--peer-seconds", type=SECONDS, default=60.0, show_default=True, help="Seconds of tokens that the peer packs.")
@click.option("--repeats", type=COUNT, default=9, show_default=True, help="Turns that count.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(seconds: float, peer_seconds: float, repeats: int, seed: int, target: Path | None) -> None:
    """Print a table of the container's cost in time and in bytes."""
    codes = random_codes(seconds, 8, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hour.ecdc"
        figures = [
            *stream_figures(codes, path, repeats),
            *peer_figures(codes, peer_seconds, repeats),
            *overhead_figures(codes),
            info_figure(path, repeats),
        ]
    about = (
        f"{seconds:g} s of random codes (seed {seed}) at 6 kbps: {FRAME_RATE} frames/s, K = 8, V = {1 << BITS}; one thread of "
        f"{processor_name()}; medians of {repeats} turns or more, spread is the interquartile range."
    )
    found = {"about": about, "rows": [asdict(figure) for figure in figures]}
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
