"""`ecdc bench`: measure quality at real file sizes against other codecs; `bench listen`: results of blind tests."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from .common import InputError, guard, missing
from .help_sections import WholeHelpGroup
from .number_types import Finite


@click.group("bench", cls=WholeHelpGroup, invoke_without_command=True)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where rows, tables, plots and the page go.",
)
@click.option(
    "--corpus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Audio to measure on, at any depth. Default: the bundled clips.",
)
@click.option(
    "--packed",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Measure on the validation slice of packed training audio.",
)
@click.option("--synthetic", is_flag=True, help="Measure on synthetic sounds.")
@click.option(
    "--codec",
    "codecs",
    multiple=True,
    metavar="NAME[:KBPS,...]",
    help="A codec to measure; may be repeated: nano-48k:3,6, a checkpoint's path, opus, mp3, aac, vorbis, speex, codec2, pcm, "
    "anchors. Default: nano-48k, opus, mp3, anchors.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A metric; may be repeated: visqol, visqol_speech, zimtohrli, pesq, stoi, mel, stft, si_sdr. Default: all.",
)
@click.option("--quick", is_flag=True, help="Few bitrates and cheap metrics.")
@click.option(
    "--rate",
    type=click.IntRange(8_000, 96_000),
    default=24_000,
    show_default=True,
    metavar="HZ",
    help="Sample rate of the references.",
)
@click.option(
    "--seconds",
    type=Finite(1, 60),
    default=10.0,
    show_default=True,
    help="Maximum length of a clip; of longer ones, the middle is used.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Rows measured at the same time.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--no-page", is_flag=True, help="Do not write the HTML page.")
@click.option("--force", is_flag=True, help="Start again in a folder that holds another run.")
@click.pass_context
def bench_command(ctx: click.Context, output: Path | None, rate: int, seconds: float, no_page: bool, **given: Any) -> None:
    """Measure codecs on clips: real bitrates, quality metrics, plots and a listening page.

    After an interruption, run the same command again; it continues. If some clips fail, the others
    are measured, and the exit code is 1.
    """
    if ctx.invoked_subcommand is not None:
        return
    if output is None:
        raise click.UsageError("give a folder with --output")
    if sum(bool(given[name]) for name in ("corpus", "packed", "synthetic")) > 1:
        raise click.UsageError("give one of --corpus, --packed and --synthetic")
    with guard():
        try:
            from ..bench.main import Request, bench
        except ModuleNotFoundError as error:
            raise InputError(missing(error.name)) from error
        request = Request(output=output, sample_rate=rate, max_seconds=seconds, page=not no_page, **given)
        with progress() as started:
            table, problem = bench(request, lambda line: click.echo(line, err=True), started)
        click.echo(table)
        click.echo(
            f"\n{output}: rows.jsonl, report.md, plots/" + ("" if no_page else ", index.html (open it in a browser)"), err=True
        )
        if problem:
            raise InputError(problem)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int], Callable[[dict[str, Any]], object]]]:
    """Show a progress bar over rows with an estimate, on stderr."""
    from tqdm import tqdm

    with tqdm(unit="row", leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:

        def started(n_rows: int) -> Callable[[dict[str, Any]], object]:
            bar.reset(n_rows)
            return lambda row: (bar.set_postfix_str(f"{row['clip']}, {row['codec']}", refresh=False), bar.update())

        yield started


@bench_command.command("listen")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def listen_command(results: tuple[Path, ...], as_json: bool) -> None:
    """Aggregate the blind tests that listeners downloaded from the page."""
    with guard():
        import json

        from ..bench.listen import aggregate, to_dict, to_markdown

        found = aggregate(results)
        click.echo(json.dumps(to_dict(found), indent=1) if as_json else to_markdown(found))


# name: (module of bench/, one line of help); each module has a click command `main`
BENCHES = {
    "speed": ("speed", "Time codecs side by side; latency and memory."),
    "entropy": ("entropy", "What the entropy prior saves, and how fast it is."),
    "live": ("live", "Feed a pipe in real time: time to the first sample, and lag."),
    "loss": ("loss", "Speech over networks that lose packets, compared with Opus."),
    "decoders": ("decoders", "Compare the decoders of one token space."),
    "artifacts": ("artifacts", "Hum, pre-echo and lost treble."),
    "vbr": ("vbr", "Compare variable and fixed bitrate at the same file size."),
    "container": ("container", "The container: speed, and bytes in addition to the codes."),
    "seek": ("seek", "Compare decoding a span of a long file with decoding a short file."),
    "streams": ("streams", "Measure many live streams on one core: steps, their spread, memory."),
    "memory": ("memory", "Peak memory of whole commands."),
    "pairs": ("pairs", "Compare the speed of this tree with another commit."),
    "designs": ("designs", "Compare codecs in training, on validation clips."),
    "effort": ("effort", "What more encoder effort gains, and what it costs."),
    "limits": ("limits", "What a split codec would score if one part of it were exact."),
    "generations": ("generations", "Decode and encode again, several times: codes that stay the same, and quality."),
    "stereo": ("stereo", "Compare divisions of codebooks between mid and side, and Opus."),
    "prefix-order": ("prefix_order", "Compare orders of level and shape codebooks."),
    "train-speed": ("train_speed", "Time a training step."),
    "entropy-lm": ("entropy_lm", "Train EnCodec's language model on tokens, to compare with the prior."),
    "mbd-peer": ("mbd_peer", "Compare a diffusion step with audiocraft's."),
    "musicgen-peer": ("musicgen_peer", "Compare music generation with that of transformers."),
    "music": ("music", "Measure how well musicgen-nano follows its prompts."),
    "light": ("light", "Compare the light runtime with PyTorch."),
    "corpus": ("corpus_speed", "Measure tokenising a corpus, and reading its tokens for training."),
    "web": ("web", "The browser's decoder and encoder: speed, first sound, bytes, memory."),
    "demo": ("demo", "Encode and decode two clips, with a picture."),
    "figures": ("figures", "Write the results into the documentation."),
}


def _pass_on(name: str, module: str, text: str) -> click.Command:
    """Return a command that passes its arguments to `main` of a module, which is imported only when it runs."""

    @click.command(name, context_settings={"ignore_unknown_options": True}, add_help_option=False, help=text)
    @click.argument("args", nargs=-1, type=click.UNPROCESSED)
    def command(args: tuple[str, ...]) -> None:
        with guard():
            try:
                main = import_module(f"..bench.{module}", __package__).main
            except ModuleNotFoundError as error:
                raise InputError(missing(error.name)) from error
            main.main(["--help" if word == "-h" else word for word in args], prog_name=f"ecdc bench {name}")

    return command


for _name, (_module, _text) in BENCHES.items():
    bench_command.add_command(_pass_on(_name, _module, _text))
