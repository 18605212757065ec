"""`ecdc decode`."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from .common import TIME, InputError, calls_bar, guard, speaker, speed
from .device_options import compute_options, settle_threads
from .help_sections import SectionedCommand
from .jobs import Work, jobs_option, plan_all, run_found
from .number_types import Finite

if TYPE_CHECKING:
    from ..codec.audio_out import Output

ECDC_SUFFIXES = frozenset({".ecdc"})


@click.command(
    "decode",
    cls=SectionedCommand,
    sections={
        "Output": "output output_dir force skip_existing as_json quiet",
        "Sound": "form rate bits",
        "What to decode": "start duration partial max_seconds",
        "Decoder": "model decoder steps seed",
        "Computing": "jobs threads device runtime",
    },
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Output file, or '-'. Default: the input's name with .wav; for standard input, standard output.",
)
@click.option("--output-dir", metavar="DIR", help="Folder for the outputs; created if missing.")
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="wav, flac, ogg (Vorbis), opus, mp3, m4a (AAC), aiff or au. Default: from the output's suffix; wav for standard "
    "output or without -o. If the format does not support the sample rate, its next higher one is used, or else its highest.",
)
@click.option(
    "--rate",
    type=click.IntRange(1_000, 768_000),
    metavar="HZ",
    help="Sample rate of the output. Default: that of the original.",
)
@click.option("--start", type=TIME, default="0", metavar="TIME", help="Where to begin: seconds, or h:mm:ss.s.")
@click.option("--duration", type=TIME, metavar="TIME", help="How much to decode. Default: up to the end.")
@click.option("--partial", is_flag=True, help="Decode the undamaged parts of damaged files; lost parts become silence.")
@click.option("--model", help="Decode with this model instead of the one that the file names.")
@click.option(
    "--decoder",
    default="conv",
    show_default=True,
    metavar="NAME",
    help="conv: the model's own. mbd: the multi-band diffusion decoder that is bundled for nano-24k tokens. Or the file of a "
    "diffusion decoder (.safetensors, .th, .pt).",
)
@click.option(
    "--max-seconds",
    type=Finite(0, min_open=True),
    default=86_400.0,
    show_default=True,
    help="Refuse files that would decode to more audio than this; a few bytes can stand for days of silence.",
)
@click.option("--steps", type=click.IntRange(0, 1000), help="Steps of a diffusion decoder. Default: the decoder's.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Seed of a diffusion decoder's noise. Default: 0.")
@click.option(
    "--bits",
    type=click.Choice(["16", "24", "float"]),
    help="Bits per sample, for wav, aiff and au; flac has only 16 and 24. Default: 16.",
)
@click.option("--force", is_flag=True, help="Overwrite outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@jobs_option
@compute_options
def decode_command(
    inputs: tuple[str, ...], output: str | None, output_dir: str | None, force: bool, as_json: bool, quiet: bool, jobs: int,
    skip_existing: bool | None, **given: Any,
) -> None:  # fmt: skip
    """Decode .ecdc files, or all of them in folders, into audio.

    INPUT is a file, a folder, or '-' for standard input. Files of the original EnCodec
    (version 0) can be decoded too; give their checkpoint with --model. In a folder, every .ecdc
    file at any depth is decoded, and all other files are listed. Inputs whose outputs exist are
    skipped, so after an interruption, run the same command again.
    """
    if given["partial"] and (given["start"] or given["duration"] is not None):
        raise click.UsageError("--partial takes whole files: repair the file, then decode a span of it")
    task = Decoding(**given, force=force, quiet=quiet)
    with guard():
        suffix = f".{task.form.lower()}" if task.form else ".wav"
        found = plan_all(inputs, ECDC_SUFFIXES, suffix, output, output_dir, force, skip_existing)
        for _, target in found.jobs:
            task.output(target, lambda line: None).check()
        if task.decoder == "conv" and (task.steps is not None or task.seed is not None):
            raise click.UsageError("--steps and --seed are for diffusion decoders: add --decoder mbd")
        say = speaker(as_json, quiet, _sentence, any(target == "-" for _, target in found.jobs))
        run_found(found, task, jobs, say, as_json, quiet, "decoded")


@dataclass(frozen=True)
class Decoding:
    """The task of decoding one file; its fields are the command's options."""

    form: str | None
    rate: int | None
    start: Fraction
    duration: Fraction | None
    partial: bool
    model: str | None
    decoder: str
    steps: int | None
    seed: int | None
    bits: str | None
    max_seconds: float
    threads: int | None
    device: str
    runtime: str
    force: bool
    quiet: bool

    def output(self, target: str, note: Callable[[str], None]) -> Output:
        """Return the settings of an output: file, format, bits, overwriting and where notes go."""
        from ..codec.audio_out import Output

        return Output(target, self.form, self.bits, self.force, (lambda line: None) if self.quiet else note)

    def _checked_runtime(self) -> str:
        """Return the runtime. Raises InputError if other options do not fit it, and MissingTorch."""
        from ..codec.runtime import check_torch, is_for_torch

        if self.decoder in ("conv", "mbd") and not is_for_torch(self.device):
            return self.runtime
        if self.runtime == "onnx":
            raise InputError(f"--runtime onnx: --decoder {self.decoder} --device {self.device} needs torch")
        check_torch(f"--device {self.device}" if is_for_torch(self.device) else f"--decoder {self.decoder}")
        return "torch"

    def prepare(self) -> Work:
        """Load the model, if one is given, and return a function that decodes one file.

        Raises one of `expected_errors` for bad input.
        """
        settle_threads(self.threads)
        from ..codec.decoding import decode_file
        from ..codec.runtime import open_bundled, open_codec, placed

        runtime = self._checked_runtime()
        codec = open_codec(self.model, runtime) if self.model else None
        # Most files name the same codec: load it and move it to the device once.
        bundled = functools.cache(functools.partial(open_bundled, runtime=runtime))
        change = _changer(self.decoder, self.steps, self.seed, self.quiet)
        decoder: Callable[[Any], Any] = functools.cache(lambda codec: placed(change(codec), self.device))

        def work(source: str, target: str, progress: Callable[[float], None], note: Callable[[str], None]) -> dict[str, Any]:
            began = time.perf_counter()
            lost: list[str] | None = [] if self.partial else None
            result = decode_file(
                source, self.output(target, note), codec, sample_rate=self.rate, progress=progress, start=self.start,
                duration=self.duration, lost=lost, decoder=decoder, max_seconds=self.max_seconds, bundled=bundled,
            )  # fmt: skip
            for line in lost or ():
                note(line)
            return {
                "input": source,
                "output": target,
                "seconds": round(result.seconds, 3),
                "bytes": result.n_bytes,
                "kbps": round(result.kbps, 3),
                "channels": result.channels,
                "sample_rate": result.sample_rate,
                "lost": list(result.lost),
                "x_real_time": round(result.seconds / max(time.perf_counter() - began, 1e-9), 1),
            }

        return work

    def seconds_of(self, source: str) -> float | None:
        """Return the duration of a file's audio in seconds; None if no progress is shown or it is standard input."""
        if self.quiet or sys.stderr is None or not sys.stderr.isatty() or source == "-":
            return None
        from ..format.summary import open_summary

        seconds: float = open_summary(source)["seconds"]
        return seconds


def _changer(decoder: str, steps: int | None, seed: int | None, quiet: bool) -> Callable[[Any], Any]:
    """Return a function that replaces a codec's decoder by the requested one."""
    if decoder == "conv":
        return lambda codec: codec
    from ..codec.runtime import with_decoder

    return functools.partial(with_decoder, decoder=decoder, steps=steps, seed=seed or 0, progress=calls_bar(quiet))


def _sentence(row: dict[str, Any]) -> str:
    channels = {1: "mono", 2: "stereo"}.get(row["channels"], f"{row['channels']} channels")
    return f"{row['output']}: {row['seconds']:.2f} s, {row['sample_rate']} Hz {channels}, {speed(row['x_real_time'])}"
