"""A command whose help lists its options in named sections."""

from __future__ import annotations

from typing import Any

import click

MOST_WIDTH = 30  # characters of the first column; click's own limit


class WholeHelpGroup(click.Group):
    """A group whose help shows the first sentence of every command, however long it is."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of all commands."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, found.get_short_help_str(limit=1000)) for name, found in commands if found])


class SectionedCommand(click.Command):
    """A command with `sections`: a title -> the names of its parameters, separated by spaces, in the order of the help.

    Options that no section names are listed in a last section, as --help is.
    """

    def __init__(self, *args: Any, sections: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = {title: names.split() for title, names in sections.items()}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list per section, all with columns of the same width."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {option.name: option.get_help_record(ctx) for option in options}
        shown = {name: record for name, record in records.items() if record is not None}
        named = {name for names in self.sections.values() for name in names}
        width = min(MOST_WIDTH, max(len(left) for left, _ in shown.values()))
        for title, names in (self.sections | {"Other": [name for name in shown if name not in named]}).items():
            rows = [(shown[name][0].ljust(width), shown[name][1]) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)
