"""What many benches have in common: options, a pool of processes for clips, and JSON files of rows."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import click

from ..format.errors import ArgumentError
from ..format.files import atomic_path
from .options import COUNT, NEW_FILE, SECONDS

ClipT = TypeVar("ClipT")
Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "target", type=NEW_FILE, help="Write the rows here too.")
jobs_option = click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes.")


def clip_options(seconds: float, per_group: int) -> Callable[[Command], Command]:
    """Return a decorator that adds the options which choose validation clips, with these defaults."""
    options = (
        click.option("--packed", "folder", type=click.Path(path_type=Path), required=True,
                     help="Packed audio; its validation slice is used."),
        click.option("--rate", type=click.IntRange(1), default=24_000, show_default=True,
                     help="Sample rate in Hz at which decoded clips are compared."),
        click.option("--seconds", type=SECONDS, default=seconds, show_default=True, help="Seconds of each clip."),
        click.option("--per-group", type=COUNT, default=per_group, show_default=True, help="Clips of each group."),
    )  # fmt: skip

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def rows_of_clips(work: Callable[[ClipT], list[dict[str, Any]]], clips: Sequence[ClipT], jobs: int) -> list[dict[str, Any]]:
    """Call `work` for each clip in a pool of `jobs` processes; return the rows of all clips, in the order of the clips."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        return [row for rows in pool.map(work, clips) for row in rows]


def read_json(path: Path) -> Any:
    """Return the content of a file that `write_json` wrote; raises ArgumentError if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ArgumentError(f"{path}: is not JSON, as benchmarks write it") from None


def write_json(found: Any, target: Path | None) -> None:
    """Write results as JSON, unless there is no target. The file appears only when it is complete."""
    if target:
        with atomic_path(target) as partial:
            partial.write_text(json.dumps(found, indent=1) + "\n")


def describe_clips(n_clips: int, seconds: float, rate: float) -> str:
    """Return the sentence that stands below a table."""
    return f"{n_clips} clips of {seconds:g} s, compared at {rate / 1000:g} kHz."
