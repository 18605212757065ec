"""The command group. Subcommands are imported only when run, so that `ecdc --help` never imports torch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from .. import __version__
from .common import DEBUG
from .mistyped import ARGUMENTS, mistyped
from .signals import EXIT_INTERRUPTED, hold_standard_streams, interrupted, termination_as_interrupt
from .terminal_text import printable

# name: (module, attribute, one line of help)
COMMANDS = {
    "encode": ("encode", "encode_command", "Encode audio into .ecdc files."),
    "decode": ("decode", "decode_command", "Decode .ecdc files into audio."),
    "generate": ("generate", "generate_command", "Generate music from a text prompt, a melody or the beginning of a piece."),
    "info": ("info", "info_command", "Describe .ecdc files without decoding them."),
    "verify": ("verify", "verify_command", "Check every byte of .ecdc files."),
    "repair": ("repair", "repair_command", "Write a valid file from the intact parts of a damaged one."),
    "peel": ("edit", "peel_command", "Lower the bitrate by dropping codebooks, without encoding again."),
    "cut": ("edit", "cut_command", "Cut a part out of a file, without decoding it."),
    "cat": ("edit", "cat_command", "Join files, without decoding them."),
    "tag": ("edit", "tag_command", "List or change tags."),
    "corpus": ("corpus", "corpus_group", "Tokenise many hours of audio into shards for training."),
    "tokens": ("tokens", "tokens_group", "Convert codes to and from numpy and safetensors files; show statistics."),
    "convert": ("convert", "convert_command", "Convert to and from the original EnCodec's file format."),
    "export": ("export", "export_group", "Write models as ONNX graphs."),
    "live": ("live", "live_group", "Send and receive live audio over networks that lose packets."),
    "serve": ("serve", "serve_command", "Serve a web page that plays and records .ecdc files."),
    "models": ("models", "models_command", "List the bundled models."),
    "bench": ("bench", "bench_command", "Measure codecs: real bitrates, quality metrics, a listening page."),
    "train": ("train", "train_group", "Train models, and fetch free audio to train on."),
}


class LazyGroup(click.Group):
    """A group that holds its commands' names and help, and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command `cmd_name`."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Make the context as click does. Usage errors have no control characters, and a mistyped option costs one line.

        Raises UsageError for an empty argument. It comes from a shell variable without a value, and as a name it would mean
        the current folder.
        """
        with _printable_errors():
            words = [*(kwargs["args"] if "args" in kwargs else args[1])]
            if "" in words:
                raise click.UsageError("an argument is empty; if it is a shell variable, the variable has no value")
            context = super().make_context(*args, **kwargs)
            context.meta[ARGUMENTS] = words
            return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Usage errors are as in `make_context`; an unhandled interrupt prints one line."""
        try:
            with _printable_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise interrupted() from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@contextlib.contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        if (short := mistyped(error)) is not None:
            raise short from None
        error.message = printable(error.message, kept="\n")  # type: ignore[misc]  # final only for type checkers
        raise


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ecdc")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
def group(debug: bool) -> None:
    """ecdc: an open neural audio codec.

    \b
    ecdc encode in.wav --kbps 6        writes in.ecdc
    ecdc decode in.ecdc                writes in.wav

    '-' is standard input or output. Exit codes: 0 done, 1 an input could not be
    processed, 2 wrong usage, 130 interrupted (Ctrl-C or SIGTERM).
    """
    if debug:
        os.environ[DEBUG] = "1"  # child processes inherit it


def main(args: list[str] | None = None) -> Any:
    """Entry point of the console script."""
    hold_standard_streams()
    try:
        with termination_as_interrupt():
            return group(args=args, prog_name="ecdc")
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED and args is None and "multiprocessing" not in sys.modules:
            # Files are cleaned up. Threads of native libraries may still compute, and the regular end of the
            # interpreter beneath them has been seen to crash.
            os._exit(EXIT_INTERRUPTED)
        raise
