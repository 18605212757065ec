"""`ecdc serve`."""

from __future__ import annotations

import importlib.util
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from .common import InputError, NamedError, guard
from .terminal_text import counted, echo, printable

if TYPE_CHECKING:
    from .web_server import Generate

PAGE = Path(__file__).parents[1] / "web" / "dist"
GENERATOR, MODEL = "musicgen", "musicgen-nano"


@click.command("serve")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8024, show_default=True, help="0 selects a free port.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--write",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Do not serve: write the page, the models and the files into DIR, for any static web server.",
)
def serve_command(folder: Path | None, port: int, opens: bool, target: Path | None) -> None:
    """Serve a web page that plays, seeks and records .ecdc files, and lists those in FOLDER.

    The page is for browsers on this machine only: the server listens on 127.0.0.1. If the
    music generator is installed (ecdc[torch]), the page has a text box for it. Ctrl-C stops the server.
    """
    with guard():
        from .web_server import Server, Site

        if not (PAGE / "index.html").is_file():
            raise InputError("the page is not built: run `make web` in a clone of ecdc (needs Node 20 and npm)")
        if folder is not None and not folder.is_dir():
            raise NamedError(str(folder), "is not a folder")
        site = Site(PAGE, folder, find_generator())
        site.catalog()  # read the models now, so that their faults are found now
        if target is not None:
            from .web_static import write_site

            written = write_site(site, target)
            size = sum(path.stat().st_size for path in written)
            return echo(printable(f"{target}: {counted(len(written), 'file')}, {size / 1e6:.1f} MB"), err=True)
        try:
            server = Server(site, port)
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}); choose another one with --port") from error
        with server:
            echo(printable(f"{server.url} (Ctrl-C ends the server)"), err=True)
            if opens:
                webbrowser.open(server.url)
            server.serve_forever()


def find_generator() -> Generate | None:
    """Return a function that generates music, or None if its plugin or PyTorch is not installed."""
    from ..plugins.generators import generators

    if GENERATOR not in generators() or importlib.util.find_spec("torch") is None:
        return None

    def generate(asked: dict[str, Any], output: BinaryIO) -> None:
        from ..plugins.generators import generator, write

        write(generator(GENERATOR)(MODEL, **asked), output)

    return generate
