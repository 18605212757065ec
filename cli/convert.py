"""`ecdc convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import InputError, check_output, guard
from .edit import output_options

if TYPE_CHECKING:
    from ..codec.compat.lm import LanguageModel
    from ..format.api import CodeFile


@click.command("convert")
@click.argument("input", metavar="INPUT")
@click.option("--model", help="The checkpoint that made a version 0 file; its hash is stored in the result.")
@click.option("--lm", metavar="FILE", help="Weights of EnCodec's language model, to read or write entropy-coded version 0.")
@output_options
def convert_command(input: str, model: str | None, lm: str | None, output: str, force: bool) -> None:
    """Convert the original EnCodec's container (version 0) to version 1, or version 1 to version 0.

    The codes do not change. Version 0 supports only encodec_24khz and encodec_48khz, and stores
    neither tags nor the original sample rate. Entropy-coded files of version 0 need the weights of
    EnCodec's language model (--lm), and a machine whose floating-point arithmetic rounds like that
    of the writer's machine.
    """
    with guard(input):
        check_output((input,), output, force)
        from ..format.api import CodeFile
        from ..format.files import input_stream, output_stream
        from ..format.v0_convert import to_v0, to_v1

        with input_stream(input) as source:
            coder = _language_model(lm)
            file = CodeFile(source, coder)
            if file.version == 1 and model:
                raise InputError("--model is for files of version 0; this one names its token space")
            token_space = _token_space(file, model) if file.version == 0 else b""
            with output_stream(output, force) as target:
                if file.version == 0:
                    to_v1(file, target, token_space)
                else:
                    to_v0(file, target, coder)


def _language_model(path: str | None) -> LanguageModel | None:
    if path is None:
        return None
    from ..codec.compat.lm import load_language_model

    return load_language_model(Path(path))


def _token_space(file: CodeFile, model: str | None) -> bytes:
    """Return the hash of the codebooks of a version 0 file, from its checkpoint; raises InputError."""
    if model is None:
        raise InputError("a version 0 file does not name its codebooks: give its checkpoint with --model")
    from ..codec.checkpoints import load

    codec = load(model)
    header = file.header
    ours = (codec.config.sample_rate, codec.config.hop_length, codec.config.codebook_size, codec.config.channels)
    if ours != (header.sample_rate, header.hop_length, header.codebook_size, header.channels):
        raise InputError(f"the file needs {header.codec}, got {codec.config.name}")
    return codec.token_space
