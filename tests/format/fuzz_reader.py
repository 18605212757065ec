"""Read any bytes through every public way: nothing but a FormatError may come out.

    python tests/format/fuzz_reader.py --seconds 600        # mutations of the golden streams
    python tests/format/fuzz_reader.py --atheris -runs=-1   # guided by coverage, where atheris is installed

The second takes libFuzzer's own options. An input that fails is in the message, or in libFuzzer's crash file.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SMALL = 1024  # bytes: up to here, reading never needs MEMORY
MEMORY = 64 << 20  # bytes


def index(data: bytes) -> None:
    """The index of a file, and the frames that it leads to."""
    from ecdc.format.reader import Reader

    reader = Reader(io.BytesIO(data))
    assert (reader.trailer is None) or reader.n_samples is not None
    assert reader.n_frames is not None and reader.n_frames >= 0
    if reader.n_frames:
        reader.codes(reader.n_frames - 1, reader.n_frames)
        next(reader.chunks(reader.n_frames // 2))


def opened(data: bytes) -> None:
    """What `ecdc.open` tells."""
    from ecdc.format.api import CodeFile

    with CodeFile(io.BytesIO(data)) as file:
        repr(file), file.seconds, file.n_codebooks
        file.streams()


def repaired(data: bytes) -> None:
    """What survives is a whole file."""
    from cases import read_all
    from ecdc.format.reader import Reader
    from ecdc.format.salvage import repair

    out = io.BytesIO()
    repair(Reader(io.BytesIO(data)), out)
    read_all(io.BytesIO(out.getvalue()))


def ways() -> dict[str, Callable[[bytes], Any]]:
    """Every public way from bytes to what they hold."""
    from cases import Pipe, read_all
    from ecdc.format.api import CodeFile
    from ecdc.format.header import parse_header
    from ecdc.format.reader import Reader
    from ecdc.format.salvage import Salvage
    from ecdc.format.summary import summarize
    from ecdc.format.v0 import read_v0

    return {
        "header": lambda data: parse_header(data) if len(data) > 4 else None,
        "file": lambda data: read_all(io.BytesIO(data)),
        "pipe": lambda data: read_all(Pipe(data, at_most=100)),
        "parts": lambda data: list(Reader(Pipe(data, at_most=100)).parts(3)),
        "index": index,
        "open": opened,
        "open a pipe": lambda data: list(CodeFile(Pipe(data, at_most=7))),
        "repair": repaired,
        "salvage a pipe": lambda data: list(Salvage(Reader(Pipe(data, at_most=7)))),
        "summary": lambda data: summarize(io.BytesIO(data)),
        "v0": lambda data: read_v0(io.BytesIO(data)),
        "v0 pipe": lambda data: read_v0(Pipe(data, at_most=7)),
    }


def check(data: bytes) -> None:
    """Raise AssertionError, naming the way and the bytes, if one lets anything but a FormatError out.

    `tracemalloc`, if it is tracing, is asked about the memory too.
    """
    from ecdc.format.errors import FormatError

    for name, read in ways().items():
        if tracemalloc.is_tracing():
            tracemalloc.reset_peak()
        try:
            read(data)
        except FormatError as error:
            assert str(error).isprintable() and 0 <= error.offset <= len(data), f"{name}: {error} for {data!r}"
        except Exception as error:
            raise AssertionError(f"{name}: {error!r} for {data!r}") from error
        if tracemalloc.is_tracing() and len(data) <= SMALL:
            peak = tracemalloc.get_traced_memory()[1]
            assert peak <= MEMORY, f"{name}: {peak} bytes of memory for {data!r}"


def corpus() -> list[bytes]:
    return [path.read_bytes() for path in sorted((HERE / "golden").glob("*.ecdc"))]


def mutate(stream: bytes, rng: random.Random) -> bytes:
    """Change, cut, repeat or extend some bytes."""
    data = bytearray(stream)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        change = rng.randrange(6)
        if change == 0:
            data[at : at + 1] = [rng.randrange(256)]
        elif change == 1:  # a whole field of extreme bytes
            size = rng.choice((2, 4, 8))
            data[at : at + size] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
        elif change == 2:
            del data[at:]
        elif change == 3:
            del data[at : at + rng.randrange(1, 9)]
        elif change == 4:
            data[at:at] = data[at : at + rng.randrange(1, 200)]
        else:
            data += rng.randbytes(rng.randrange(1, 40))
    return bytes(data)


def repair(data: bytes) -> bytes:
    """Make every checksum right that can be found, so that what lies behind them is reached."""
    from cases import sealed
    from ecdc.format.chunk import CRC_SIZE, HEAD_SIZE
    from ecdc.format.schema import CHUNK, PREFIX, SYNC

    if data[:5] != b"ECDC\1" or len(data) < PREFIX.sizeof():
        return data
    size = PREFIX.parse(data).header_size
    parts, rest = [data[:size]], data[size:]
    while len(rest) >= HEAD_SIZE and rest[: len(SYNC)] == SYNC:
        size = HEAD_SIZE + CHUNK.parse(rest).body_size + CRC_SIZE
        parts.append(rest[:size])
        rest = rest[size:]
    return b"".join(sealed(part) if len(part) > CRC_SIZE else part for part in parts) + rest


def mutations(seed: int) -> Iterator[bytes]:
    """Without an end: mutations of the golden streams, most of them with their checksums made right."""
    rng, streams = random.Random(seed), corpus()
    while True:
        data = mutate(rng.choice(streams), rng)
        yield repair(data) if rng.random() < 0.8 else data


def run_mutations(seconds: float, seed: int) -> int:
    """Check mutations for so long; how many there were."""
    end, count, stream = time.monotonic() + seconds, 0, mutations(seed)
    while time.monotonic() < end:
        check(next(stream))
        count += 1
    return count


def run_atheris(arguments: list[str]) -> None:
    """Check what libFuzzer finds, the checksums made right as above; does not return."""
    import atheris

    kernels = ["ecdc.format.bitpack"]  # numba cannot compile what is instrumented
    with atheris.instrument_imports(include=["ecdc.format"], exclude=kernels):
        ways()
    folder = Path("build/fuzz")
    folder.mkdir(parents=True, exist_ok=True)
    options = [arg for arg in arguments if arg.startswith("-")]
    folders = [arg for arg in arguments if not arg.startswith("-")] or [str(folder), str(HERE / "golden")]

    def test_one(data: bytes) -> None:
        check(data)
        check(repair(data))

    atheris.Setup([sys.argv[0], *options, *folders], test_one)
    atheris.Fuzz()


def main() -> None:
    sys.path[:0] = [str(HERE)]
    os.environ["ECDC_PRIORS"] = str(HERE / "golden")  # small.prior
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="fuzz with libFuzzer; further options are its own")
    options, rest = parser.parse_known_args()
    if options.atheris:
        run_atheris(rest)
    elif rest:
        parser.error(f"unknown options {rest}")
    print(f"{run_mutations(options.seconds, options.seed)} streams, each read in {len(ways())} ways: no failure")


if __name__ == "__main__":
    main()
