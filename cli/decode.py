"""`ecdc decode`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from .common import TIME, calls_bar, guard, plan, process, progress_bar, speaker
from .params import Finite
from .text import echo, printable

if TYPE_CHECKING:
    from ..codec.model import Codec

ECDC_SUFFIXES = frozenset({".ecdc"})


@click.command("decode")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE", help="Output file, or '-'. Default: the input's name with .wav.")
@click.option("--output-dir", metavar="DIR", help="Folder for the outputs; made if missing.")
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="wav, flac, ogg (Vorbis), opus, mp3, aiff or au. Default: by the output's suffix, else wav. "
    "A rate that it lacks becomes the next one that it has.",
)
@click.option(
    "--rate", type=click.IntRange(1_000, 768_000), metavar="HZ", help="Sample rate of the output. Default: the original's."
)
@click.option("--start", type=TIME, default="0", metavar="TIME", help="Where to begin: seconds, or h:mm:ss.s.")
@click.option("--duration", type=TIME, metavar="TIME", help="How much to decode. Default: all that follows.")
@click.option("--partial", is_flag=True, help="Decode what is whole of damaged files; what is lost becomes silence.")
@click.option("--model", help="Decode with this model instead of the one that the file names.")
@click.option(
    "--decoder",
    default="conv",
    show_default=True,
    metavar="NAME",
    help="conv, the model's own; mbd, its multi-band diffusion; or a file of one (.safetensors, .th, .pt).",
)
@click.option(
    "--max-seconds",
    type=Finite(0, min_open=True),
    default=86_400.0,
    show_default=True,
    help="Refuse files that would become longer audio than this: a few bytes can stand for days of silence.",
)
@click.option("--steps", type=click.IntRange(0, 1000), help="Of a diffusion decoder: more take longer. Default: the decoder's.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of a diffusion decoder's noise. Default: 0.")
@click.option(
    "--bits", type=click.Choice(["16", "24", "float"]), help="Of a sample in wav, aiff and au; flac has 16 and 24. Default: 16."
)
@click.option("--force", is_flag=True, help="Overwrite outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def decode_command(
    inputs: tuple[str, ...], output: str | None, output_dir: str | None, form: str | None, rate: int | None,
    start: Fraction, duration: Fraction | None, partial: bool, model: str | None, decoder: str, steps: int | None,
    seed: int | None, bits: str | None, force: bool, as_json: bool, quiet: bool, max_seconds: float,
) -> None:  # fmt: skip
    """Decode .ecdc files, or all of them in folders, into audio.

    INPUT is a file, a folder, or '-' for standard input. Files of the original EnCodec
    (version 0) are read too; name their checkpoint with --model.
    """
    if partial and (start or duration is not None):
        raise click.UsageError("--partial takes whole files: repair the file, then decode a span of it")
    with guard():
        from ..codec.audio_out import Output

        suffix = f".{form.lower()}" if form else ".wav"
        jobs = plan(inputs, ECDC_SUFFIXES, suffix, output, output_dir, force)
        outputs = {target: Output(target, form, bits, force, _notice(quiet)) for _, target in jobs}
        for one in outputs.values():
            one.check()
        from ..codec.checkpoints import load
        from ..codec.pipeline import decode_file

        codec = load(model) if model else None
        change = _changer(decoder, steps, seed, quiet)

    def work(source: str, target: str) -> dict[str, Any]:
        began = time.perf_counter()
        with progress_bar(source, None, quiet) as progress:
            lost: list[str] | None = [] if partial else None
            result = decode_file(
                source, outputs[target], codec, rate, None, progress, start, duration, lost, change, max_seconds
            )
        for line in lost or ():
            echo(printable(f"ecdc: {source}: {line}"), err=True)
        speed = result.seconds / max(time.perf_counter() - began, 1e-9)
        return {
            "input": source,
            "output": target,
            "seconds": round(result.seconds, 3),
            "bytes": result.n_bytes,
            "kbps": round(result.kbps, 3),
            "channels": result.channels,
            "sample_rate": result.sample_rate,
            "x_real_time": round(speed, 1),
        }

    process(jobs, work, speaker(as_json, quiet, _sentence, any(target == "-" for _, target in jobs)))


def _notice(quiet: bool) -> Callable[[str], None]:
    """How the user learns that an output is not just as asked for."""
    return lambda line: None if quiet else echo(printable(f"ecdc: {line}"), err=True)


def _changer(decoder: str, steps: int | None, seed: int | None, quiet: bool) -> Callable[[Codec], Codec]:
    """What gives a codec the decoder that was asked for."""
    if decoder == "conv":
        if steps is not None or seed is not None:
            raise click.UsageError("--steps and --seed are for diffusion decoders: add --decoder mbd")
        return lambda codec: codec
    from ..codec.diffusion.choice import with_decoder

    return functools.partial(with_decoder, decoder=decoder, steps=steps, seed=seed or 0, progress=calls_bar(quiet))


def _sentence(row: dict[str, Any]) -> str:
    channels = {1: "mono", 2: "stereo"}.get(row["channels"], f"{row['channels']} channels")
    return f"{row['output']}: {row['seconds']:.2f} s, {row['sample_rate']} Hz {channels}, {row['x_real_time']:.0f}x real time"
