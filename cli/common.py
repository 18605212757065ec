"""Shared parts of the commands: output names, one-line errors, progress bars."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from ..format.errors import EcdcError, FormatError
from .signals import interrupted
from .terminal_text import dumps, echo, printable


class Time(click.ParamType):
    """Exact time on the command line: seconds, m:ss or h:mm:ss, each with optional decimals -> seconds as a Fraction."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """Parse `value`; a usage error says what is expected."""
        found = re.fullmatch(r"(?:(?:(\d{1,6}):)?([0-5]?\d):(?=\d\d(?:\.|$)))?(\d{1,12}(?:\.\d{1,30})?)", str(value))
        if found is None or (found[2] and Fraction(found[3]) >= 60):
            self.fail(f"{value!r} is not a time: give seconds, m:ss or h:mm:ss, such as 83.5 or 1:23.5", param, ctx)
        return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + Fraction(found[3])


TIME = Time()
EXIT_FAILED = 1
DEBUG = "ECDC_DEBUG"  # environment variable: show tracebacks


class InputError(EcdcError):
    """An input cannot be processed; the message is one line."""


class NamedError(InputError):
    """An error whose message begins with the name of the file, so that `guard` adds no other name."""

    def __init__(self, filename: str, text: str) -> None:
        super().__init__(filename, text)
        self.filename, self.text = filename, text

    def __str__(self) -> str:
        return f"{self.filename}: {self.text}"


def effort_option(default: int | None, shown_default: str | None = None) -> Callable[[Any], Any]:
    """Return the option --effort; with a default of None, help shows `shown_default`."""
    return click.option(
        "--effort",
        type=click.IntRange(0, 10),
        default=default,
        show_default=shown_default or True,
        help="How long to search for codes that match the audio best, at the same bitrate: 0 is fastest, 10 is best.",
    )


def shown(name: str) -> str:
    """Return an input's name for messages."""
    return "standard input" if name == "-" else name


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the input in errors about its bytes."""
    try:
        yield
    except FormatError as error:
        raise NamedError(shown(name), describe(error)) from error


EXTRAS = {
    "torch": "torch",
    "torchaudio": "torch",
    "onnx": "export",
    "matplotlib": "bench",
    "scipy": "bench",
    "fsspec": "corpus",
    "pyarrow": "corpus",
    "datasets": "corpus",
    "ray": "ray",
}


def extra_for(module: str | None) -> str | None:
    """Return the extra of ecdc that installs a module, or None."""
    return EXTRAS.get((module or "").split(".")[0])


def missing(module: str | None, usual: str = "bench") -> str:
    """Return one line that says how to install a module that was not found; `usual` is the extra of unknown ones."""
    name = {"torch": "PyTorch"}.get(module or "", module)
    return f"this needs {name}, which is not installed: pip install -e '.[{extra_for(module) or usual}]'"


def output_for(source: str, root: Path | None, suffix: str, output: str | None, output_dir: str | None) -> str:
    """Return the output name for `source`: `output` if given, else its name with `suffix`, in `output_dir` or beside it.

    The path relative to `root` is kept inside `output_dir`. Standard input goes to standard output.
    """
    if output is not None:
        return output
    if source == "-":
        return "-"
    path = Path(source)
    if output_dir is None:
        return str(path.with_suffix(suffix))
    inside = path.relative_to(root) if root else Path(path.name)
    return str(Path(output_dir) / inside.with_suffix(suffix))


def check_outputs(jobs: list[tuple[str, str]], force: bool) -> None:
    """Raise InputError if a target exists and `force` is False, is an input, or occurs twice, even if spelt differently."""
    targets: set[str] = set()
    for _, target in jobs:
        where = os.path.realpath(target)
        if target != "-" and where in targets:
            raise NamedError(target, "two inputs would be written to this file; use --output-dir or other names")
        targets.add(where)
    sources = {os.path.realpath(source): source for source, _ in jobs if source != "-"}
    for source, target in jobs:
        check_output([source, sources.get(os.path.realpath(target), source)], target, force)


def check_kind(source: str, suffix: str) -> None:
    """Raise NamedError for an .ecdc file to encode, or an audio file to decode, whose output would have its own name."""
    if Path(source).suffix != suffix or not Path(source).is_file():
        return
    with open(source, "rb") as stream:
        is_ecdc = stream.read(4) == b"ECDC"
    if suffix == ".ecdc" and is_ecdc:
        raise NamedError(source, "is an .ecdc file already; `ecdc decode` turns it into audio")
    if suffix != ".ecdc" and not is_ecdc:
        raise NamedError(source, "is not an .ecdc file; `ecdc encode` turns audio into .ecdc files")


def check_output(sources: Iterable[str], target: str, force: bool) -> None:
    """Check one output that is made from all `sources`: raise InputError if it exists, is an input or is a terminal."""
    if target == "-":
        if sys.stdout is not None and sys.stdout.isatty():
            raise NamedError("standard output", "is a terminal; give an output file with -o, or a pipe")
        return
    from ..format.files import is_special

    path = Path(target)
    for source in sources:
        if source != "-" and Path(source).exists() and path.exists() and Path(source).samefile(path):
            raise NamedError(target, "is the input itself; give another output with -o")
    if path.is_dir() or target.endswith((os.sep, "/")):
        raise NamedError(target, "is a folder; give an output file with -o, or use --output-dir")
    if path.exists() and not force and not is_special(target):
        raise NamedError(target, "exists already; use --force to overwrite it, or give another output with -o")
    if not path.parent.is_dir() and path.parent.exists():
        raise NamedError(str(path.parent), "is not a folder")


def plan(
    inputs: tuple[str, ...], suffixes: frozenset[str], suffix: str, output: str | None, output_dir: str | None, force: bool,
    may_exist: bool = False,
) -> list[tuple[str, str]]:  # fmt: skip
    """Return the (source, target) pairs of a command line without folders, after checking all of them.

    Raises click.UsageError, or InputError for a bad target; an existing output is one unless `force` or `may_exist`.
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("give -o or --output-dir, not both")
    if output is not None and len(inputs) > 1:
        raise click.UsageError(f"-o is the output of one input, but {len(inputs)} are given; use --output-dir")
    if inputs.count("-") > 1:
        raise click.UsageError("standard input ('-') can be read only once")
    if output is None and output_dir is None:
        for source in inputs:
            check_kind(source, suffix)
    jobs = [(source, output_for(source, None, suffix, output, output_dir)) for source in inputs]
    check_outputs(jobs, force or may_exist)
    return jobs


def describe(error: BaseException) -> str:
    """Return a one-line message for any exception."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error.filename or 'the disk'}: no space left on the disk"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    advice = getattr(error, "advice", "")  # only a FormatError has it
    return f"{text}; {advice}" if advice else text


def expected_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions that bad input may cause; any other exception is a bug in ecdc and keeps its traceback."""
    return (EcdcError, OSError)


@contextlib.contextmanager
def guard(where: str | None = None) -> Iterator[None]:
    """Turn expected errors into one line on stderr and exit code 1, Ctrl-C and SIGTERM into exit code 130.

    A closed output pipe gives exit code 1 without a message. `where` names the input in messages that name no file.
    """
    where = shown(where or "")
    try:
        yield
    except BrokenPipeError:
        # The reader of our output has closed the pipe; keep the interpreter from flushing into it at exit.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise interrupted() from None
    except ModuleNotFoundError as error:
        if extra_for(error.name) is None:
            raise
        echo(printable(f"ecdc: {missing(error.name)}"), err=True)
        raise SystemExit(EXIT_FAILED) from None
    except expected_errors() as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        text = describe(error)
        is_named = where in text or getattr(error, "filename", None)
        prefix = "" if is_named else f"{where}: "
        echo(printable(f"ecdc: {prefix}{text}"), err=True)
        raise SystemExit(EXIT_FAILED) from None


def process(
    jobs: list[tuple[str, str]], work: Callable[[str, str], dict[str, Any]], say: Callable[[dict[str, Any]], None]
) -> None:
    """Run `work` on every (source, target) pair. A failure is reported and the others still run; then exits with 1."""
    failed = 0
    for source, target in jobs:
        try:
            with guard(source):
                if target != "-":
                    Path(target).parent.mkdir(parents=True, exist_ok=True)
                say(work(source, target))
        except SystemExit as stop:
            if stop.code != EXIT_FAILED:
                raise
            failed += 1
    if failed:
        raise SystemExit(EXIT_FAILED)


def for_each(names: Iterable[str], work: Callable[[str], None]) -> None:
    """Run `work` on every name. A failure is reported and the others still run; then exits with 1."""
    failed = False
    for name in names:
        try:
            with guard(name):
                work(name)
        except SystemExit as stop:
            if stop.code != EXIT_FAILED:
                raise
            failed = True
    if failed:
        raise SystemExit(EXIT_FAILED)


@contextlib.contextmanager
def progress_bar(label: str, seconds: float | None, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a progress bar over seconds of audio on stderr, if that is a terminal; yield a function that adds seconds."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(total=seconds and round(seconds, 1), desc=printable(label), unit="s", leave=False, file=sys.stderr) as bar:
        yield lambda done: bar.update(round(done, 3)) and None


def calls_bar(quiet: bool) -> Callable[[int, int], None]:
    """Return a callback (done, total) that shows a bar over network calls on stderr, if that is a terminal.

    A diffusion decoder makes many calls before its first second of audio is done.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return lambda done, total: None
    from tqdm import tqdm

    bars: dict[int, Any] = {}

    def tell(done: int, total: int) -> None:
        if done == 1:
            bars[0] = tqdm(total=total, desc="sampling", unit="call", leave=False, file=sys.stderr)
        bars[0].update(1)
        if done == total:
            bars.pop(0).close()

    return tell


def speed(x_real_time: float) -> str:
    """Return how many times as fast as real time something was, for messages."""
    return f"{x_real_time:.{0 if x_real_time >= 1 else 1}f}x real time"


def speaker(
    as_json: bool, quiet: bool, sentence: Callable[[dict[str, Any]], str], to_stderr: bool
) -> Callable[[dict[str, Any]], None]:
    """Return a function that reports a result: as a JSON line, as a sentence on stderr, or not at all if `quiet`.

    Set `to_stderr` if the data itself goes to standard output; JSON lines then go to stderr.
    """

    def say(row: dict[str, Any]) -> None:
        if as_json:
            echo(dumps(row), err=to_stderr)
        elif not quiet:
            echo(printable(sentence(row)), err=True)

    return say
