"""Mistyped commands and options: one line that names the nearest one."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import IO, Any

import click

from ..format.errors import EcdcError
from .terminal_text import echo, printable

ARGUMENTS = "ecdc.arguments"  # key of a context's `meta`: all arguments of the command line


class Mistyped(click.ClickException, EcdcError):
    """A command or an option that does not exist. Unlike other usage errors it is shown without the usage."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on stderr."""
        echo(printable(self.message), err=True)


def mistyped(error: click.ClickException) -> Mistyped | None:
    """Return the one-line error for an unknown command or option, None for all other errors."""
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    if isinstance(error, click.NoSuchOption):
        known = [name for param in context.command.get_params(context) for name in (*param.opts, *param.secondary_opts)]
        return _advised("option", error.option_name, [name for name in known if name.startswith("--")], context)
    found = re.match(r"No such command '(.*?)'", error.message, re.DOTALL)
    if found is None or not isinstance(context.command, click.Group):
        return None
    return _advised("command", found[1], context.command.list_commands(context), context)


def _advised(kind: str, given: str, known: list[str], context: click.Context) -> Mistyped:
    near = get_close_matches(given, known, n=1)
    files = [text for text in context.meta.get(ARGUMENTS, ()) if text.startswith(given) and os.path.lexists(text)]
    if kind == "option" and files:
        return Mistyped(f"{context.command_path}: no such option '{given}'; if you mean the file, write './{files[0]}'")
    advice = f"did you mean '{near[0]}'?" if near else f"see '{context.command_path} --help'"
    return Mistyped(f"{context.command_path}: no such {kind} '{given}'; {advice}")
