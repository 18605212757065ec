"""`ecdc generate`."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import click

from .common import InputError, NamedError, check_output, guard, naming, progress_bar, shown
from .device_options import settle_threads, threads_option
from .help_sections import SectionedCommand
from .number_types import Finite, Number
from .signals import EXIT_INTERRUPTED, calls_on_interrupt
from .terminal_text import echo, printable

if TYPE_CHECKING:
    from ..codec.lookahead import LookaheadReader
    from ..codec.protocols import TokenSource
    from ..format.api import CodeFile
    from ..plugins.generators import Sound

GENERATOR, MODEL = "musicgen", "musicgen-nano"
MELODY_AHEAD = 60.0  # seconds of a melody that are read in addition to the length of the result; models look 30 s ahead


@click.command(
    "generate",
    cls=SectionedCommand,
    sections={
        "Output": "output force quiet",
        "Music": "seconds is_stereo start melody separate guidance",
        "Sampling": "seed temperature top_k top_p",
        "Model": "model generator is_list int8",
        "Computing": "threads",
    },
)
@click.argument("prompt", required=False)
@click.option("--list", "is_list", is_flag=True, help="List the installed generators.")
@click.option("--generator", default=GENERATOR, show_default=True, help="The generator, a plugin.")
@click.option(
    "--model",
    help="The generator's model: a path, or a published name such as musicgen-small. Default: the bundled musicgen-nano.",
)
@click.option(
    "--seconds",
    type=Finite(0, 3600, min_open=True),
    default=10.0,
    show_default=True,
    help="Length of the result, including --continue.",
)
@click.option(
    "--stereo/--mono",
    "is_stereo",
    default=None,
    help="Channels, if the model supports both. Default: as in --continue, or mono.",
)
@click.option("--continue", "start", metavar="FILE", help="Continue this .ecdc or audio file.")
@click.option("--melody", metavar="FILE", help="Follow the melody of this .ecdc or audio file.")
@click.option(
    "--separate/--no-separate",
    default=None,
    help="Remove drums and bass from the melody first. Default: if demucs is installed.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="The same seed gives the same tokens."
)
@click.option("--guidance", type=Number(), help="How closely to follow the prompt and the melody. Default: the model's.")
@click.option("--temperature", type=Finite(0), help="How random the tokens are; 0 always takes the most likely one.")
@click.option("--top-k", type=click.IntRange(0), help="Choose among this many of the most likely tokens.")
@click.option("--top-p", type=Finite(0, 1), help="Choose among the most likely tokens that together have this probability.")
@click.option("--int8", is_flag=True, help="Use 8-bit weights: less memory, faster; results differ slightly.")
@click.option("-o", "--output", metavar="FILE", help="Output .ecdc file, or '-'.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@threads_option
def generate_command(is_list: bool, output: str | None, force: bool, quiet: bool, threads: int | None, **given: Any) -> None:
    """Generate music from a text PROMPT, a melody or the beginning of a piece, as an .ecdc file.

    \b
    ecdc generate "slow sad piano, 70 bpm" --seconds 10 -o piano.ecdc
    ecdc generate --continue piano.ecdc --seconds 20 -o longer.ecdc
    ecdc generate "happy flute" --melody hum.wav --stereo -o flute.ecdc

    FILE may be '-' for standard input. Chunks of one second are written as they are generated, so
    `ecdc generate ... -o - | ecdc decode - -o - | aplay` plays during generation. Ctrl-C ends
    the file early, with exit code 130; a second Ctrl-C leaves no file.
    """
    if is_list:
        return _list()
    if output is None or (given["model"] is None and given["generator"] != GENERATOR):
        raise click.UsageError("give an output file with -o" if output is None else "give a model with --model")
    inputs = [name for name in (given["start"], given["melody"]) if name]
    if inputs == ["-", "-"]:
        raise click.UsageError("standard input ('-') can be read only once")
    if given["separate"] and not given["melody"]:
        raise click.UsageError("--separate needs a --melody")
    with guard(), contextlib.ExitStack() as stack:
        check_output(inputs, output, force)
        if output != "-":
            Path(output).parent.mkdir(parents=True, exist_ok=True)
        beginning = _beginning(stack, given["start"], given["seconds"])  # before torch, which takes seconds to import
        _settle_torch(threads)
        try:
            source = _source(stack, quiet, beginning, **given)
            header = source.header()
        except RuntimeError as error:  # for example, a model without its codec
            raise InputError(str(error)) from error
        with progress_bar(given["prompt"] or given["generator"], given["seconds"], quiet) as progress:
            is_whole = _write(source, output, force, progress)
    if not is_whole:
        echo("ecdc: interrupted; what was generated until then is kept", err=True)
        raise SystemExit(EXIT_INTERRUPTED)
    if not quiet:
        echo(printable(f"{output}: tokens of {header.codec}, {', '.join(map(' '.join, header.tags))}"), err=True)


def _write(source: TokenSource, output: str, force: bool, progress: Callable[[float], None]) -> bool:
    """Write everything that a source generates; return False if Ctrl-C, SIGTERM or SIGHUP ended it early."""
    from ..format.files import output_stream
    from ..plugins.generators import write

    asked: list[bool] = []  # not empty after an interruption
    is_whole = True

    def ends() -> bool:
        nonlocal is_whole
        is_whole = not asked
        return not is_whole

    with output_stream(output, force) as stream, calls_on_interrupt(lambda: asked.append(True)):
        write(source, stream, progress, ends=ends)
    return is_whole


def _settle_torch(threads: int | None) -> None:
    """Import torch and settle its threads; raises MissingTorch if it is not installed."""
    from ..codec.runtime import torch_for
    from ..codec.threads import settle_torch

    settle_threads(threads)
    with torch_for("ecdc generate"):
        settle_torch()


def _source(
    stack: contextlib.ExitStack,
    quiet: bool,
    beginning: CodeFile | Sound | None,
    generator: str,
    model: str | None,
    start: str | None,
    melody: str | None,
    **given: Any,
) -> TokenSource:
    """Return the plugin's token source for the command's options, and print its notes.

    `beginning` is the opened file named `start`. `stack` closes the melody's file.
    """
    from ..format.api import CodeFile
    from ..plugins.generators import decoded
    from ..plugins.generators import generator as find

    options = _options(given)
    if melody:
        with naming(melody):
            most = given["seconds"] + MELODY_AHEAD
            opened = stack.enter_context(_opened(melody, most=most))
            options["melody"] = decoded(opened, most) if isinstance(opened, CodeFile) else opened
    with naming(start) if start else contextlib.nullcontext():
        if beginning is not None:
            options["start"] = beginning
        source = find(generator)(model or MODEL, **options)
    for line in () if quiet else getattr(source, "notes", ()):
        echo(printable(line), err=True)
    return source


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given on the command line, for the generator."""
    is_stereo = given.pop("is_stereo")
    options = given | {"int8": given["int8"] or None, "channels": None if is_stereo is None else 1 + bool(is_stereo)}
    return {name: value for name, value in options.items() if value is not None}


def _beginning(stack: contextlib.ExitStack, name: str | None, seconds: float) -> CodeFile | Sound | None:
    """Open the file to continue; `stack` closes it. Raises InputError if it fills the wanted `seconds`."""
    if name is None:
        return None
    with naming(name):
        opened = stack.enter_context(_opened(name, seconds))
    return opened


def _check_room(name: str, seconds: float | None, below: float, more: str = "") -> None:
    """Raise NamedError if a file's `seconds` are known and are not `below` this length. `more` follows the number."""
    if seconds is not None and seconds >= below:
        text = f"lasts {seconds:.2f} s{more}, which leaves nothing to add: the result has {below:g} s, including this file"
        raise NamedError(shown(name), f"{text}; give more --seconds")


def _list() -> None:
    from ..plugins.generators import generators

    for name, point in sorted(generators().items()):
        echo(f"{name:12} {point.value}")


@contextlib.contextmanager
def _opened(name: str, below: float = math.inf, most: float = math.inf) -> Iterator[CodeFile | Sound]:
    """Open an .ecdc file or audio, detected by its first bytes. A pipe is read only as far as it is needed.

    Audio is read up to `most` seconds. Raises NamedError for audio that is not shorter than `below` seconds, and before
    reading it if its header gives the length.
    """
    from ..codec.lookahead import LookaheadReader
    from ..format.api import CodeFile
    from ..format.files import input_stream
    from ..format.schema import MAGIC

    with contextlib.ExitStack() as stack:
        path, pipe = Path(name), None
        if name == "-" or path.is_fifo():
            pipe = LookaheadReader(stack.enter_context(input_stream(name)))
            is_ecdc = pipe.peek(4) == MAGIC
        else:
            with path.open("rb") as stream:
                is_ecdc = stream.read(4) == MAGIC
        if not is_ecdc:
            yield _sound(name, pipe, below, most)
            return
        is_whole = True
        if pipe:
            kept = stack.enter_context(tempfile.NamedTemporaryFile())
            is_whole = _keep_codes(pipe, kept, min(below, most) + 1)  # codes may be a little longer than their audio
            path = Path(kept.name)
        file = stack.enter_context(CodeFile(path))
        if below < math.inf:
            _check_room(name, file.seconds, below, "" if is_whole else " or more")
        yield file


def _sound(name: str, pipe: LookaheadReader | None, below: float, most: float) -> Sound:
    """Read audio from a path, or from a pipe that is open already; see `_opened`."""
    from ..codec.audio import AudioError, AudioSource
    from ..plugins.generators import first_seconds

    try:
        with AudioSource(name, opened=pipe) as audio:
            rate, n_samples = audio.info.sample_rate, audio.info.n_samples
            _check_room(name, None if n_samples is None else n_samples / rate, below)
            sound = first_seconds(audio.blocks(), rate, min(below, most))
    except AudioError as error:
        raise NamedError(shown(name), str(error).removeprefix(f"{shown(name)}: ")) from error
    if sound is None:
        raise NamedError(shown(name), "holds no samples")
    _check_room(name, sound.audio.shape[1] / rate, below, " or more")
    return sound


def _keep_codes(pipe: LookaheadReader, kept: IO[bytes], seconds: float) -> bool:
    """Copy an .ecdc stream from a pipe to a file, which can be read again; return False if it stopped after `seconds`."""
    from ..format.api import CodeFile

    class Copied:
        def read(self, size: int) -> bytes:
            part = pipe.read(size)
            kept.write(part)
            return part

    with CodeFile(cast(BinaryIO, Copied())) as file:
        header, n_samples = file.header, 0
        for chunk in file:
            n_samples += header.segment_stride or chunk.n_frames * header.hop_length
            if n_samples - header.pre_skip >= seconds * header.sample_rate:
                kept.flush()
                return False
    kept.flush()
    return True
