"""`ecdc tokens export` and `import`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from .common import InputError, NamedError, check_output, guard, naming
from .edit import output_options
from .help_sections import WholeHelpGroup
from .token_stats import stats_command

FORMS = {f".{form}": form for form in ("npy", "npz", "safetensors")}

form_option = click.option(
    "--format", "form", type=click.Choice(list(FORMS.values())), help="Format of the array. Default: by its file's suffix."
)


@click.group("tokens", cls=WholeHelpGroup)
def tokens_group() -> None:
    """Convert codes to and from .npy, .npz and .safetensors files, and show statistics.

    The files hold `codes`, uint16: [K, T], K codebooks by T frames; [2, K, T] for two streams; or,
    if the streams differ in K, the codebooks of one followed by those of the other. All but
    .npy also hold the header of the .ecdc file.
    """


@tokens_group.command("export")
@click.argument("input", metavar="INPUT")
@output_options
@form_option
@click.option("--trim", is_flag=True, help="Keep only the codebooks that all frames of all streams have.")
def export_command(input: str, output: str, force: bool, form: str | None, trim: bool) -> None:
    """Write the codes of an .ecdc file as an array."""
    with guard(input):
        kind = _form_of(output, form)
        check_output((input,), output, force)
        from ..format.api import CodeFile
        from ..format.files import input_stream, output_stream
        from ..format.token_files import collect, save

        with input_stream(input) as source, output_stream(output, force) as target:
            save(collect(CodeFile(source), trim), target, kind)


@tokens_group.command("import")
@click.argument("input", metavar="INPUT")
@output_options
@form_option
@click.option("--like", metavar="FILE", help="Take the header from this .ecdc file.")
@click.option("--field", "settings", multiple=True, metavar="NAME=VALUE", help="Set a field of the header.")
def import_command(input: str, output: str, force: bool, form: str | None, like: str | None, settings: tuple[str, ...]) -> None:
    """Write an .ecdc file from the codes in an array.

    A .npy has no header: give a file of the same model with --like, or the fields codec,
    token_space (in hexadecimal), sample_rate, hop_length and codebook_size with --field.

    All frames are decoded, unless the file of --like has as many frames: then its length, and the
    samples that it skips at the start (pre_skip), are copied too.
    """
    fields: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise click.UsageError(f"--field takes NAME=VALUE, got {setting!r}")
        fields[name] = value
    with guard(input), contextlib.ExitStack() as stack:
        kind = _form_of(input, form)
        check_output((input,), output, force)
        from ..format.api import CodeFile
        from ..format.files import input_stream, output_stream
        from ..format.token_files import load, write

        if like == "-":
            raise InputError("--like: needs a file")
        model = None
        if like:
            with naming(like):
                model = stack.enter_context(CodeFile(like))
        with input_stream(input) as source:
            tokens = load(source, kind, model, fields)
        with output_stream(output, force) as target:
            write(tokens, target)


def _form_of(name: str, form: str | None) -> str:
    """Return the format of a token file: `form` if given, else by its suffix; raises NamedError."""
    found = form or FORMS.get(Path(name).suffix.lower())
    if found is None:
        raise NamedError(name, f"give --format, or a name that ends in {', '.join(FORMS)}")
    return found


tokens_group.add_command(stats_command)
