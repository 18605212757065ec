"""`ecdc corpus`: tokenise many hours of audio into shards, describe them, check them."""

from __future__ import annotations

import time
from typing import Any

import click

from ..codec.default_model import DEFAULT_MODEL
from .common import EXIT_FAILED, effort_option, guard
from .device_options import compute_options
from .help_sections import SectionedCommand, WholeHelpGroup
from .number_types import Finite, Number
from .terminal_text import counted, dumps, echo, printable


class Part(click.ParamType):
    """`i/n` on the command line -> (i, n)."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse `value`; a usage error says what is expected."""
        if isinstance(value, tuple):
            return value
        first, slash, n = str(value).partition("/")
        if not (slash and first.isdecimal() and n.isdecimal() and int(first) < int(n) <= 10**6):
            self.fail(f"{value!r}: give i/n with 0 <= i < n, such as 0/8 for the first of eight", param, ctx)
        return int(first), int(n)


@click.group("corpus", cls=WholeHelpGroup)
def corpus_group() -> None:
    """Tokenise many hours of audio into shards for training."""


@corpus_group.command(
    "encode",
    cls=SectionedCommand,
    sections={
        "Sources": "source_kind audio_column",
        "Output": "output form shard_items shard_mb as_json quiet",
        "Quality and size": "kbps effort entropy model",
        "Sound": "channels stereo partial",
        "Whole runs": "dry_run retry_failed allow_failures",
        "Computing": "engine address workers part batch_seconds threads device runtime",
    },
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--output", required=True, metavar="DIR", help="Folder or URL of the corpus; created if missing.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A bundled model, or the path of a checkpoint.")
@click.option("--kbps", type=Number(), default=6.0, show_default=True, help="Bitrate of each recording.")
@click.option(
    "--channels", type=click.Choice(["mono", "stereo", "keep"]), default="mono", show_default=True, help="Channels to encode."
)
@click.option(
    "--stereo",
    type=click.Choice(["auto", "mid_side", "left_right", "narrow"]),
    default="mid_side",
    show_default=True,
    help="How a mono model codes two channels. With auto, codebooks of different recordings can differ in meaning.",
)
@effort_option(0)
@click.option(
    "--entropy",
    type=click.Choice(["auto", "none"]),
    default="none",
    show_default=True,
    help="Entropy code the .ecdc files with the model's prior: smaller, but much slower to write and to read.",
)
@click.option("--partial", is_flag=True, help="Encode the readable part of damaged recordings.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["webdataset", "parquet", "lhotse-shar", "hf"]),
    default="webdataset",
    show_default=True,
    help="Kind of shards.",
)
@click.option(
    "--shard-items", type=click.IntRange(1), default=1000, show_default=True, help="Maximum number of recordings in a shard."
)
@click.option(
    "--shard-mb", type=Finite(1e-6), default=256.0, show_default=True, help="A shard ends after this many MB of audio files."
)
@click.option(
    "--source-kind",
    type=click.Choice(["auto", "folder", "manifest", "webdataset", "table", "lhotse"]),
    default="auto",
    show_default=True,
    help="Kind of the sources.",
)
@click.option("--audio-column", metavar="NAME", help="Column with audio or paths. Default: audio, path and similar names.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="A pool of processes, or Ray Data.",
)
@click.option("--address", metavar="HOST:PORT", help="Ray cluster. Default: this machine alone.")
@click.option("--workers", type=click.IntRange(1, 4096), help="Processes, or Ray actors. Default: one per processor or GPU.")
@click.option("--shard", "part", type=Part(), default="0/1", metavar="I/N", help="Make every N-th shard, starting at number I.")
@click.option("--batch-seconds", type=Finite(0.1, 3600), default=20.0, show_default=True, help="Seconds of audio in a batch.")
@click.option("--retry-failed", is_flag=True, help="Make finished shards that have failed recordings again.")
@click.option("--allow-failures", is_flag=True, help="Exit with 0 even if recordings failed.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, without doing it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object at the end.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@compute_options
def encode_command(
    sources: tuple[str, ...], output: str, source_kind: str, audio_column: str | None, retry_failed: bool,
    allow_failures: bool, dry_run: bool, as_json: bool, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Tokenise all audio of the SOURCEs into shards.

    SOURCE is a folder, a manifest (.jsonl or .csv with a column `path`), WebDataset tars (also
    'data-{000..099}.tar'), a Hugging Face dataset's folder or .parquet files, or Lhotse cuts: local, or
    a URL that fsspec reads (s3, gcs, http). Other columns are kept.

    After an interruption, run the same command again. Recordings that cannot be read are listed in
    failures.jsonl; the exit code is then 1, unless --allow-failures is given.
    """
    with guard():
        from ..corpus.run import plan_corpus, run_job

        settings, engine = settings_and_engine(given)
        job = plan_corpus(sources, output, settings, engine, source_kind, audio_column, retry_failed)
        if dry_run:
            return say_plan(job, as_json)
        from .corpus_progress import Progress

        began = time.monotonic()
        with Progress(job, quiet) as progress:
            manifest = run_job(job, engine, progress)
        summary = progress.summary(time.monotonic() - began)
        summary |= {name: manifest[name] for name in ("is_complete", "hours", "counts", "beyond_full_scale", "damaged")}
        if as_json:
            echo(dumps(summary))
        if not quiet:
            for line in progress.lines(summary, output, len(job.plan.left_out)):
                echo(printable(line), err=True)
    if manifest["counts"]["failed"] and not allow_failures:
        raise SystemExit(EXIT_FAILED)


def settings_and_engine(given: dict[str, Any]) -> tuple[Any, Any]:
    """Return the settings and the engine of a command line."""
    from ..corpus.run import Engine
    from ..corpus.settings import Settings

    names = ("model", "kbps", "channels", "stereo", "effort", "entropy", "partial", "shard_items", "shard_mb")
    settings = Settings(**{name: given[name] for name in names}, format=given["form"])
    rest = ("workers", "batch_seconds", "device", "runtime", "threads", "address", "part")
    return settings, Engine(given["engine"], **{name: given[name] for name in rest})


def say_plan(job: Any, as_json: bool) -> None:
    """Print what would be done."""
    about = job.plan.about
    todo = [item for shard in job.todo for item in shard.items]
    row = {
        "items": about["items"], "shards": about["shards"], "finished_shards": job.n_finished, "shards_to_do": len(job.todo),
        "items_to_do": len(todo), "bytes_to_read": sum(item.n_bytes for item in todo), "left_out": len(job.plan.left_out),
        "model": about["model"], "codebooks": about["codebooks"], "columns": about["columns"],
    }  # fmt: skip
    if as_json:
        return echo(dumps(row))
    echo(f"{counted(row['items'], 'recording')} in {counted(row['shards'], 'shard')}, {job.n_finished} finished")
    megabytes = f"{row['bytes_to_read'] / 1e6:.1f} MB"
    echo(f"to do: {counted(len(todo), 'recording')} ({megabytes}) in {counted(len(job.todo), 'shard')}")
    books = " or ".join("+".join(map(str, ks)) for ks in about["codebooks"].values())
    echo(f"model {about['model']}, {books} codebooks, {about['frame_rate']:g} frames a second, {about['settings']['format']}")
    if about["columns"]:
        echo(printable("columns kept: " + ", ".join(about["columns"])))
    for path, reason in job.plan.left_out[:10]:
        echo(printable(f"ignored: {path}: {reason}"))
    if len(job.plan.left_out) > 10:
        echo(f"ignored: {counted(len(job.plan.left_out) - 10, 'further file')}")


@corpus_group.command("info")
@click.argument("where", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def info_command(where: str, as_json: bool) -> None:
    """Describe a corpus: model, rate, counts, hours, failures."""
    with guard(where):
        from ..corpus.verify import describe_corpus

        found = describe_corpus(where)
        if as_json:
            return echo(dumps(found))
        counts, settings = found["counts"], found["settings"]
        books = " or ".join("+".join(map(str, ks)) for ks in found["codebooks"].values())
        size = sum(file["bytes"] for shard in found["finished"] for file in shard["files"])
        state = "complete" if found["is_complete"] else "not finished: give the same command again"
        echo(printable(f"{where}: {state}"))
        echo(f"  {len(found['finished'])} of {counts['shards']} shards ({settings['format']}), {size} bytes")
        echo(f"  {counts['done']} of {counts['items']} recordings, {found['hours']:.2f} h, {counts['failed']} failed")
        if found["damaged"]:
            echo(f"  {counted(len(found['damaged']), 'recording')} damaged and encoded in part")
        echo(printable(f"  {found['model']}, {settings['kbps']:g} kbps, {books} codebooks of {found['codebook_size']}"))
        echo(f"  {found['frame_rate']:g} frames a second, {settings['channels']}, written by ecdc {found['ecdc']}")
        echo(f"  token space {found['token_space']}")
        if found["columns"]:
            echo(printable("  columns: " + ", ".join(f"{name} ({kind})" for name, kind in found["columns"].items())))


@corpus_group.command("verify")
@click.argument("where", metavar="DIR")
@click.option("--quiet", is_flag=True, help="Print only errors.")
def verify_command(where: str, quiet: bool) -> None:
    """Check every byte of a corpus: checksums, rows, codes, token space, missing shards."""
    with guard(where):
        from ..corpus.verify import describe_corpus, verify_corpus

        names: list[str] = []
        problems = verify_corpus(where, names.append)
        for line in problems:
            echo(printable(f"ecdc: {where}: {line}"), err=True)
        if not problems and not quiet:
            found = describe_corpus(where)
            n_done, hours = found["counts"]["done"], found["hours"]
            echo(printable(f"{where}: {counted(len(names), 'file')}, {counted(n_done, 'recording')}, {hours:.2f} h: no damage"))
    if problems:
        raise SystemExit(EXIT_FAILED)
