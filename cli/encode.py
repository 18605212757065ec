"""`ecdc encode`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from ..codec.default_model import DEFAULT_MODEL
from .common import effort_option, guard, speaker, speed
from .device_options import compute_options, settle_threads
from .help_sections import SectionedCommand
from .jobs import Work, jobs_option, plan_all, run_found
from .number_types import Finite, Number

CHANNELS = {"mono": 1, "stereo": 2, "keep": None}


@click.command(
    "encode",
    cls=SectionedCommand,
    sections={
        "Output": "output output_dir verify force skip_existing as_json quiet",
        "Quality and size": "kbps vbr quality effort entropy chunk_seconds model",
        "Sound": "channels stereo track partial",
        "Computing": "jobs threads device runtime",
    },
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Output file, or '-'. Default: the input's name with .ecdc; for standard input, standard output.",
)
@click.option("--output-dir", metavar="DIR", help="Folder for the outputs; created if missing.")
@click.option(
    "--kbps",
    type=Number(),
    default=6.0,
    show_default=True,
    help="Bitrate of the whole file, all channels together. If the model does not support it, the next lower one is used.",
)
@click.option(
    "--vbr",
    is_flag=True,
    help="Variable bitrate: each half second gets as many codebooks as it needs, and --kbps is the real mean of the file. It "
    "does not sound better than a fixed bitrate.",
)
@click.option(
    "--quality",
    type=Finite(0, 10),
    help="Instead of a bitrate: keep the distortion constant, with as many codebooks as that takes.",
)
@click.option(
    "--entropy",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="auto: make the file smaller with the model's entropy prior, if it has one. none: no prior is needed to decode it.",
)
@click.option(
    "--chunk-seconds",
    type=Finite(0.05, 60),
    help="Length of a chunk. A listener at the end of a pipe waits for a whole chunk, and a damaged byte costs at most one "
    "chunk. Default: 5.",
)
@effort_option(None, "4; 0 for EnCodec models, which have only 0")
@click.option("--verify", is_flag=True, help="Check every chunk before writing it, by decoding its tokens again.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A bundled model, or the path of a checkpoint.")
@click.option("--channels", type=click.Choice(list(CHANNELS)), default="keep", show_default=True, help="Channels to encode.")
@click.option(
    "--stereo",
    type=click.Choice(["auto", "mid_side", "left_right", "narrow"]),
    default="auto",
    show_default=True,
    help="How a mono model codes two channels. narrow is mid_side with one codebook for the side. auto chooses by the stereo "
    "width of the recording, but uses mid_side for pipes and for models of another kind than nano-48k.",
)
@click.option("--track", type=click.IntRange(1), metavar="N", help="Sound track of a film, from 1. Default: the main one.")
@click.option("--partial", is_flag=True, help="Encode the readable part of damaged or cut-off audio.")
@click.option("--force", is_flag=True, help="Overwrite outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@jobs_option
@compute_options
def encode_command(
    inputs: tuple[str, ...], output: str | None, output_dir: str | None, force: bool, as_json: bool, quiet: bool, jobs: int,
    skip_existing: bool | None, **given: Any,
) -> None:  # fmt: skip
    """Encode audio files, or all audio in folders, into .ecdc files.

    INPUT is a file, a folder, or '-' for standard input, in any format that FFmpeg reads, films
    included. Audio from a pipe is encoded as it arrives; only formats that need seeking (MP4 with
    its index at the end, WavPack, APE, CAF, W64) are first copied to a temporary file. Decoding
    restores the sample rate and one or two channels; more channels are downmixed to stereo.

    In a folder, every audio file at any depth is encoded, and all other files are listed. Outputs
    go into the same tree in --output-dir, or next to the audio files; a.wav and a.flac in one
    folder become a.wav.ecdc and a.flac.ecdc. Inputs whose outputs exist are skipped, so after an
    interruption, run the same command again.
    """
    is_rate_given = click.get_current_context().get_parameter_source("kbps") is not ParameterSource.DEFAULT
    if given["quality"] is not None and (given["vbr"] or is_rate_given):
        raise click.UsageError("--quality chooses the bitrate itself; leave out --kbps and --vbr, or --quality")
    task = Encoding(**given, force=force, quiet=quiet)
    with guard():
        from ..codec.audio_in import READABLE_SUFFIXES

        found = plan_all(inputs, READABLE_SUFFIXES, ".ecdc", output, output_dir, force, skip_existing)
        say = speaker(as_json, quiet, _sentence, any(target == "-" for _, target in found.jobs))
        run_found(found, task, jobs, say, as_json, quiet, "encoded")


@dataclass(frozen=True)
class Encoding:
    """The task of encoding one file; its fields are the command's options."""

    kbps: float
    vbr: bool
    quality: float | None
    entropy: str
    chunk_seconds: float | None
    effort: int | None
    verify: bool
    model: str
    channels: str
    stereo: str
    track: int | None
    partial: bool
    threads: int | None
    device: str
    runtime: str
    force: bool
    quiet: bool

    def prepare(self) -> Work:
        """Load the model and return a function that encodes one file. Raises one of `expected_errors` for bad input."""
        is_live = self.chunk_seconds is not None and self.chunk_seconds < 1
        settle_threads(self.threads, 1 if is_live else None)
        from ..codec.encoding import encode_file
        from ..codec.runtime import open_codec
        from ..codec.vbr import Target

        codec = open_codec(self.model, self.runtime, self.device)
        target_rate = Target(self.kbps) if self.vbr else None if self.quality is None else Target.of_quality(self.quality)

        def work(source: str, target: str, progress: Callable[[float], None], note: Callable[[str], None]) -> dict[str, Any]:
            began = time.perf_counter()
            lost: list[str] | None = [] if self.partial else None
            result = encode_file(
                source, target, codec, kbps=self.kbps, channels=CHANNELS[self.channels], stereo=self.stereo, progress=progress,
                vbr=target_rate, entropy=self.entropy, verify=self.verify, chunk_seconds=self.chunk_seconds,
                effort=self.effort, overwrite=self.force, track=self.track, lost=lost,
                note=(lambda line: None) if self.quiet else note,
            )  # fmt: skip
            for line in lost or ():
                note(line)
            return {
                "input": source,
                "output": target,
                "model": codec.config.name,
                "seconds": round(result.seconds, 3),
                "bytes": result.n_bytes,
                "kbps": round(result.kbps, 3),
                "codebooks": list(result.codebooks),
                "channels": result.channels,
                "lost": list(result.lost),
                "x_real_time": round(result.seconds / max(time.perf_counter() - began, 1e-9), 1),
            }

        return work

    def seconds_of(self, source: str) -> float | None:
        """Return the duration of a file's audio in seconds; None if no progress is shown or it is unknown."""
        if self.quiet or sys.stderr is None or not sys.stderr.isatty():
            return None
        from ..codec.encoding import seconds_of

        return seconds_of(source)


def _sentence(row: dict[str, Any]) -> str:
    books = "+".join(str(k) for k in row["codebooks"]) or "a varying number of"
    return (
        f"{row['output']}: {row['seconds']:.2f} s, {row['bytes']} bytes, {row['kbps']:.2f} kbps "
        f"({row['model']}, {books} codebooks), {speed(row['x_real_time'])}"
    )
