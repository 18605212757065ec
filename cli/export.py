"""`ecdc export onnx`."""

from __future__ import annotations

from pathlib import Path

import click

from .common import NamedError, guard
from .help_sections import WholeHelpGroup
from .terminal_text import echo, printable


@click.group("export", cls=WholeHelpGroup)
def export_group() -> None:
    """Write models in formats for other programs."""


@export_group.command("onnx")
@click.argument("model")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the graphs; created if missing.",
)
@click.option(
    "--graphs-only",
    is_flag=True,
    help="Write the graphs into the folder MODEL itself; they refer to the weights in its model.safetensors.",
)
@click.option("--force", is_flag=True, help="Overwrite graphs.")
def onnx_command(model: str, output: Path | None, graphs_only: bool, force: bool) -> None:
    """Write encoder and decoder of MODEL as ONNX graphs, for onnxruntime in any language and in browsers.

    MODEL is a bundled model, the folder of a model, or an EnCodec checkpoint as for `--model`. The state of a stream is an
    input and an output of the graphs; batch size and number of frames are dynamic. DIR receives encoder.onnx, decoder.onnx,
    decoder_fp16.onnx (half the size), the codebooks (quantizer.safetensors) and config.json. It also receives mbd.onnx (a step
    of the diffusion decoder) if the model has one, and levels.onnx and end.onnx for a split codec. `ecdc encode` and
    `ecdc decode` use DIR with `--model`. Needs the extra ecdc[export].
    """
    if (output is None) != graphs_only:
        raise click.UsageError("give a folder with --output, or --graphs-only")
    with guard():
        from ..codec.light.export import export_model, folder_of, write_structures
        from ..codec.light.names import DECODER, ENCODER

        if output is None and not Path(model).is_dir():
            raise NamedError(model, "is not a model folder, so it has no place for graphs; give a folder with --output")
        target = output or Path(model)
        for name in (ENCODER, DECODER):
            if (target / name).exists() and not force:
                raise NamedError(str(target / name), "exists already; use --force to overwrite it")
        with folder_of(model) as folder:
            for path in export_model(folder, output) if output else write_structures(target):
                echo(printable(f"{path}: {path.stat().st_size} bytes"), err=True)
