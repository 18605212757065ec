"""Files whose every field may lie, their checksums right, through every command: one line, exit 1, nothing left, little used.

    python tests/cli/fuzz_commands.py --cases 2000 --seed 1

Each case runs in a process of its own, forked from one that has everything imported: at most 1.5 GB beyond that and 20 s of
processor time, an exit code of 0, 1 or 2, lines that are printable, no traceback, and no output unless it is 0. A case that
fails is kept in the folder that the message names.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "format" / "golden"
sys.path[:0] = [str(HERE.parent / "format")]

MEMORY = 1500 << 20  # bytes, beyond what the imported program has
CPU_SECONDS, WALL_SECONDS = 20, 240  # the second, on a busy machine, is for those that wait for something for ever

COMMANDS = [  # FILE is the case; GOOD a whole file of the same model; OUT must not be there after a failure
    "info FILE", "info --json FILE", "verify FILE", "tag FILE", "decode FILE -o OUT.wav --max-seconds 60",
    "decode FILE -o OUT.flac --max-seconds 60 --partial", "decode FILE -o OUT.wav --max-seconds 60 --start 0.05 --duration 0.1",
    "repair FILE -o OUT.ecdc", "repair FILE --like GOOD -o OUT.ecdc", "repair GOOD --like FILE -o OUT.ecdc",
    "peel FILE --kbps 1.5 -o OUT.ecdc", "cut FILE --start 0.02 --duration 1 -o OUT.ecdc", "cat FILE GOOD -o OUT.ecdc",
    "cat GOOD FILE -o OUT.ecdc", "cat FILE -o OUT.ecdc", "tag FILE --set a=b -o OUT.ecdc", "tokens export FILE -o OUT.npy",
    "tokens export FILE -o OUT.npz", "tokens export FILE --trim -o OUT.safetensors", "convert FILE -o OUT.ecdc",
    "tokens import TOKENS --like FILE -o OUT.ecdc", "convert FILE --model nano-24k -o OUT.ecdc", "encode FILE -o OUT.ecdc",
]  # fmt: skip


@dataclass
class Case:
    """What is run: the command, and what stands for FILE."""

    command: str
    name: str
    data: bytes
    extra: dict[str, bytes]  # further files of the case's folder


def numbers(size: int, rng: random.Random, value: int) -> int:
    """A number of `size` bytes near to something: the ends, a power of two, or what was there."""
    top = (1 << (8 * size)) - 1
    near = rng.choice((0, top, value, 1 << rng.randrange(8 * size), rng.randrange(top + 1)))
    return max(0, min(top, near + rng.randrange(-1, 2)))


def header_fields() -> list[tuple[int, int]]:
    """Offset and size of every number of a header."""
    from ecdc.format.schema import HEADER

    found, at = [], 0
    for field in HEADER.subcons:
        if field.name == "codec":
            break
        size = field.sizeof()
        found += [(at, size)] if size <= 8 else [(at + i, 4) for i in range(0, size, 8)]
        at += size
    return [field for field in found if field[0] > 4]


CHUNK_FIELDS = [(4, 1), (5, 1), (6, 4), (10, 4), (14, 8), (22, 2), (24, 1), (25, 1), (26, 4)]  # head, span, entropy, K, scale
END_FIELDS = [(6, 4), (10, 4), (14, 8), (22, 8), (30, 4), (34, 4), (38, 2)]  # head, lengths, checksum, the index's start


def with_field(piece: bytes, fields: list[tuple[int, int]], rng: random.Random) -> bytes:
    """A header or chunk with one of its fields changed."""
    at, size = rng.choice(fields)
    if rng.random() < 0.1:  # of an END chunk: its own size, at its end
        at, size = max(0, len(piece) - 8), 4
    data = bytearray(piece)
    value = int.from_bytes(data[at : at + size], "little")
    data[at : at + size] = numbers(size, rng, value).to_bytes(size, "little")[: len(data) - at]
    return bytes(data)


def lying_stream(whole: bytes, rng: random.Random) -> bytes:
    """A stream with fields that lie, chunks that are lost, doubled or exchanged, and checksums that are right."""
    from cases import pieces, sealed

    parts = pieces(whole)
    for _ in range(rng.choice((1, 1, 2, 3))):
        i = rng.randrange(len(parts))
        change = rng.random()
        if change < 0.75 or len(parts) < 3:
            fields = header_fields() if i == 0 else END_FIELDS if i == len(parts) - 1 else CHUNK_FIELDS
            parts[i] = sealed(with_field(parts[i], fields, rng))
        elif change < 0.83:
            del parts[max(i, 1)]
        elif change < 0.91:
            parts.insert(i + 1, parts[i] if i else b"")
        else:
            parts[1], parts[-1] = parts[-1], parts[1]
    return b"".join(parts)


def legal_stream(rng: random.Random) -> bytes:
    """A stream that breaks no rule and means little: extreme rates, hops and lengths, hours of silence."""
    import numpy as np
    from cases import make_header
    from ecdc.codec.checkpoints import load
    from ecdc.format.schema import ChannelCoding, FieldError
    from ecdc.format.writer import Writer

    coding, rate = rng.choice(list(ChannelCoding)), rng.choice((1, 8000, 24_000, 2**24))
    original = rng.choice((rate, 1, 44_100, 2**24))
    fields = {"codec": "other/\u202e"}
    if rng.random() < 0.5:
        fields = {"codec": "nano-24k", "token_space": load("nano-24k").token_space}
    header = make_header(
        sample_rate=rate, original_sample_rate=original, hop_length=rng.choice((1, 320, 2**24)), channel_coding=coding,
        channels=rng.choice((1, 255)) if coding is ChannelCoding.JOINT else 1 + (coding is not ChannelCoding.MONO),
        pre_skip=rng.choice((0, 0, 5, 2**32 - 1)), output_gain=rng.choice((0, 2**15 - 1, -(2**15))),
        tags=tuple((f"k{i}", "\x1b[2J\n" * i) for i in range(rng.choice((0, 3)))), **fields,
    )  # fmt: skip
    out = io.BytesIO()
    with contextlib.suppress(FieldError), Writer(out, header, rng.choice((None, 65_535))) as writer:
        for _ in range(rng.choice((0, 1, 3))):
            k = rng.choice((0, 0, 1, 2))
            writer.append(np.full((k * header.n_streams, rng.choice((1, 3, 300, 65_535)) if k == 0 else 3), 7))
    return out.getvalue()


def old_stream(rng: random.Random) -> bytes:
    """A version 0 file whose JSON lies."""
    about = {"m": rng.choice(("encodec_24khz", "encodec_48khz", "../x")), "al": 320, "nc": 2, "lm": False}
    about[rng.choice(list(about))] = rng.choice((0, -1, True, None, "x", 2**31, 2**48, 2**63, 1e300, [], {}))
    text = json.dumps(about).encode()
    size = len(text) if rng.random() < 0.8 else numbers(4, rng, len(text))
    return b"ECDC\0" + struct.pack(">I", size) + text + rng.randbytes(rng.choice((0, 5, 100)))


def lying_tokens(rng: random.Random) -> tuple[str, bytes]:
    """A token file of any form, its header or its bytes changed."""
    from ecdc.format.api import CodeFile
    from ecdc.format.token_files import collect, save

    form, out = rng.choice(("npy", "npz", "safetensors")), io.BytesIO()
    save(collect(CodeFile(GOLDEN / rng.choice(("mono.ecdc", "tagged.ecdc")))), out, form)
    data = bytearray(out.getvalue())
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(min(len(data), 400))
        data[at : at + rng.choice((1, 1, 4))] = rng.choice((b"9" * 4, rng.randbytes(1), b"\xff" * 4, b""))
    return f"case.{form}", bytes(data)


def lying_model(rng: random.Random) -> dict[str, bytes]:
    """A codec's folder in which a value of config.json is another."""
    from ecdc.codec.checkpoints import BUNDLED

    values = json.loads((BUNDLED / "nano-24k" / "config.json").read_text())
    if rng.random() < 0.5:
        values = {"model_type": "encodec", "num_filters": 8, "upsampling_ratios": [8, 5, 4, 2], "chunk_length_s": None}
        values |= {"num_residual_layers": 1, "kernel_size": 7, "compress": 2, "num_lstm_layers": 2, "codebook_size": 1024}
    table = values if rng.random() < 0.5 or "architecture" not in values else values["architecture"]
    extremes = (0, -1, 2**31, 2**63, 10**30, 1e300, float("inf"), float("nan"), None, True, "x", [], {}, [0], [10**9] * 9)
    table[rng.choice(list(table))] = rng.choice(extremes)
    tensors = b"\x40\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64) + bytes(4)
    return {"model/config.json": json.dumps(values).encode(), "model/model.safetensors": tensors}


def make_case(rng: random.Random) -> Case:
    """One case, which depends on the state of `rng` alone."""
    kind, good = rng.random(), (GOLDEN / "mono.ecdc").read_bytes()
    if kind < 0.08:
        name, data = lying_tokens(rng)
        like = rng.choice(("", " --like GOOD"))
        return Case(f"tokens import FILE{like} -o OUT.ecdc", name, data, {"good.ecdc": good})
    if kind < 0.16:
        format_of = struct.pack("<IHHIIHH4sI", 16, 1, 1, 24_000, 48_000, 2, 16, b"data", 640)
        audio = b"RIFF" + struct.pack("<I", 676) + b"WAVEfmt " + format_of + bytes(640)
        return Case("encode FILE --model MODEL -o OUT.ecdc", "case.wav", audio, lying_model(rng))
    if kind < 0.24:
        prior = bytearray((GOLDEN / "small.prior").read_bytes())
        for _ in range(rng.choice((1, 3))):
            at = rng.randrange(min(len(prior), 1200))
            prior[at] = rng.randrange(256)
        return Case("verify FILE", "case.ecdc", (GOLDEN / "prior.ecdc").read_bytes(), {"case.prior": bytes(prior)})
    names = sorted(path.name for path in GOLDEN.glob("*.ecdc") if not path.name.startswith(("v0", "damaged", "trunc")))
    data = legal_stream(rng) if kind < 0.4 else old_stream(rng) if kind < 0.5 else b""
    data = data or lying_stream((GOLDEN / rng.choice(names)).read_bytes(), rng)
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)]
    tokens = io.BytesIO()
    import numpy as np

    np.save(tokens, np.ones((2, 3), np.uint16))
    return Case(rng.choice(COMMANDS), "case.ecdc", data, {"good.ecdc": good, "tokens.npy": tokens.getvalue()})


def imported() -> None:
    """Import all that commands use, and run one of each kind, before the first fork."""
    import torch
    from ecdc.cli.main import COMMANDS as GROUPS
    from ecdc.cli.main import group
    from ecdc.codec.checkpoints import load

    torch.set_num_threads(1)
    for name in GROUPS:
        if name not in ("bench", "train"):
            group.get_command(None, name)
    codec = load("nano-24k")
    codec.decode(codec.encode(torch.zeros(1, 1, 3200)))
    from fuzz_reader import ways

    os.environ["ECDC_PRIORS"] = str(GOLDEN)
    for read in ways().values():
        for name in ("prior.ecdc", "mono.ecdc"):
            try:
                read((GOLDEN / name).read_bytes())
            except Exception:
                continue


def run_case(case: Case, folder: Path) -> str | None:
    """Run a case in `folder`, which is empty; what is wrong, or None."""
    for name, data in {case.name: case.data, **case.extra}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    words = {"FILE": case.name, "GOOD": "good.ecdc", "TOKENS": "tokens.npy", "MODEL": "model"}
    args = [words.get(word, word.replace("OUT.", "out.")) for word in case.command.split()]
    before = {path.name for path in folder.iterdir()}
    began, child = time.monotonic(), os.fork()
    if child == 0:
        _in_child(args, folder)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() - began > WALL_SECONDS:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return f"did not end in {WALL_SECONDS} s"
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(ended[1])
    said = (folder / "stderr").read_bytes().decode()
    left = {path.name for path in folder.iterdir()} - before - {"stderr", "stdout"}
    return _problem(code, said, left)


def _problem(code: int, said: str, left: set[str]) -> str | None:
    if code not in (0, 1, 2):
        return f"exit code {code}: {said[-2000:]}"
    if not all(line.isprintable() for line in said.split("\n")):
        return f"steers the terminal: {said!r}"
    if code == 1 and (not said or not all(line.startswith("ecdc: ") for line in said.strip().split("\n"))):
        return f"is no message: {said!r}"
    if (code and left) or not left <= {f"out.{form}" for form in ("wav", "flac", "ecdc", "npy", "npz", "safetensors")}:
        return f"exit code {code}, and leaves {sorted(left)}"
    return None


def _in_child(args: list[str], folder: Path) -> None:
    """Be the command, within the limits; never returns."""
    code = 99
    try:
        os.chdir(folder)
        for number, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)))
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.BufferedWriter(io.FileIO(i, "w", closefd=False))) for i in (1, 2))
        if list(folder.glob("*.prior")):
            os.environ["ECDC_PRIORS"] = str(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        from ecdc.cli.main import main

        main(args)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 99
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(cases: int, seed: int, tell: Callable[[str], None] = print) -> list[str]:
    """Run so many cases; what was wrong with any, each with the folder in which it is kept."""
    imported()
    rng, problems, codes = random.Random(seed), [], 0
    for i in range(cases):
        case = make_case(rng)
        folder = Path(tempfile.mkdtemp(prefix="ecdc-fuzz-"))
        problem = run_case(case, folder)
        codes += 1
        if problem is None:
            shutil.rmtree(folder)
            continue
        problems.append(f"case {i} of seed {seed}, {case.command}, in {folder}: {problem}")
        tell(problems[-1])
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    problems = run(options.cases, options.seed)
    print(f"{options.cases} cases of seed {options.seed}: {len(problems) or 'no'} failures")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
