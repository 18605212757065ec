"""`ecdc train`: fetch audio, train codecs, entropy priors and diffusion decoders."""

from __future__ import annotations

from pathlib import Path

import click

from .common import guard

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("runs/audio/packed"),
    show_default=True,
    help="Packed audio (see fetch and pack).",
)
limit_option = click.option("--max-seconds", type=float, default=float("inf"), help="Stop, with a checkpoint, after this time.")


@click.group("train")
def train_group() -> None:
    """Train models on free audio, or on your own."""


@train_group.command("fetch")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/audio"),
    show_default=True,
    help="Where packages and packed audio go (8 GB; 2 GB with --quick).",
)
@click.option("--quick", is_flag=True, help="Only the 0.35 GB starting set.")
def fetch_command(output: Path, quick: bool) -> None:
    """Download free audio from Debian packages and pack it for training.

    Needs apt (nothing is installed) and the extra ecdc[train]. Steps that are done are skipped.
    """
    with guard():
        from ..codec.train.fetch import fetch

        packed = fetch(output, quick, report=lambda line: click.echo(line, err=True))
        click.echo(str(packed))


@train_group.command("pack")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Where the packed audio goes.")
def pack_command(folder: Path, output: Path) -> None:
    """Pack a folder of your own audio for training."""
    with guard():
        from ..codec.train.pack import folder_sources, pack_sources

        pack_sources(folder_sources(folder), output, report=lambda line: click.echo(line, err=True))
        click.echo(str(output))


@train_group.command("codec")
@click.argument("recipe")
@data_option
@click.option(
    "--output", type=click.Path(path_type=Path), help="Run folder; its checkpoint is resumed. Default: runs/<recipe>."
)
@limit_option
@click.option("--init", help="Start at the weights of this model (a name or a folder) instead of random ones: fine-tuning.")
@click.option("--export", type=click.Path(path_type=Path), help="Write the trained model to this folder.")
def codec_command(
    recipe: str, data: Path, output: Path | None, max_seconds: float, init: str | None, export: Path | None
) -> None:
    """Train a codec by RECIPE: a bundled one by name (nano-24k), or a TOML file.

    Resumes the run in --output where there is one; Ctrl-C saves a checkpoint and ends. For
    one process per core: OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m ecdc.cli train codec ...
    """
    with guard():
        from ..codec.checkpoints import load
        from ..codec.train.loop import train
        from ..codec.train.recipe import find_recipe, read_recipe
        from ..codec.train.store import export_model

        path = find_recipe(recipe)
        folder = output or Path("runs") / path.stem
        start = load(init) if init else None
        run = train(read_recipe(path), data, folder, max_seconds, lambda line: click.echo(line, err=True), start)
        if export:
            export_model(run, export)
        click.echo(f"{folder}: step {run.step} of {run.recipe.steps}", err=True)


@train_group.command("prior")
@click.argument("model")
@data_option
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Run folder; its checkpoint is resumed.")
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True, help="Updates.")
@click.option("--hours", type=click.FloatRange(0.01), default=4.0, show_default=True, help="Hours of audio to learn from.")
@limit_option
@click.option("--export", type=click.Path(path_type=Path), help="Write the prior to this file (NAME.prior).")
def prior_command(
    model: str, data: Path, output: Path, steps: int, hours: float, max_seconds: float, export: Path | None
) -> None:  # fmt: skip
    """Train an entropy prior for the tokens of MODEL: a bundled model, a folder or a checkpoint.

    Files coded with it name it by hash: keep it in a folder that ECDC_PRIORS names. Resumes
    the run in --output where there is one; Ctrl-C saves a checkpoint and ends.
    """
    with guard():
        from ..codec.checkpoints import load
        from ..codec.train.prior_run import PriorRecipe, train_prior

        codec, recipe = load(model), PriorRecipe(steps=steps, token_hours=hours)
        run = train_prior(recipe, codec, data, output, max_seconds, lambda line: click.echo(line, err=True))
        if export:
            run.prior.export(codec.token_space).save(export)
        click.echo(f"{output}: step {run.step} of {steps}", err=True)


@train_group.command("mbd")
@click.argument("recipe")
@click.option("--model", required=True, help="The codec whose tokens are decoded: a bundled model, a folder or a checkpoint.")
@data_option
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Run folder; its checkpoint is resumed.")
@limit_option
@click.option("--export", type=click.Path(path_type=Path), help="Write the trained decoder to this file.")
def mbd_command(
    recipe: str, model: str, data: Path, output: Path, max_seconds: float, export: Path | None
) -> None:  # fmt: skip
    """Train a multi-band diffusion decoder by RECIPE: a bundled one by name (nano-24k-mbd), or a TOML file.

    Resumes the run in --output where there is one; Ctrl-C saves a checkpoint and ends. For
    one process per core: OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m ecdc.cli train mbd ...
    """
    with guard():
        from ..codec.checkpoints import load
        from ..codec.diffusion.flow_file import save_flow
        from ..codec.train.mbd_run import MbdRecipe, train_mbd
        from ..codec.train.recipe import find_recipe, read_recipe

        codec, found = load(model), read_recipe(find_recipe(recipe), MbdRecipe)
        run = train_mbd(found, codec, data, output, max_seconds, lambda line: click.echo(line, err=True))
        if export:
            save_flow(run.average, run.token_space, export)
        click.echo(f"{output}: step {run.step} of {found.steps}", err=True)
