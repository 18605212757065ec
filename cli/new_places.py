"""Options for what is written at the end of hours of work: the place is checked before the work begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class NewPlace(click.Path):
    """A file or folder that is written at the end; folders on the way to it may be missing, and are made then."""

    def __init__(self, is_folder: bool) -> None:
        super().__init__(path_type=Path)
        self.is_folder = is_folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check `value`; a usage error says why nothing could be written there."""
        path = Path(str(super().convert(value, param, ctx)))
        if self.is_folder and os.path.exists(path) and not path.is_dir():
            self.fail(f"{path}: is a file; name a folder", param, ctx)
        if not self.is_folder and path.is_dir():
            self.fail(f"{path}: is a folder; name a file", param, ctx)
        place = path if self.is_folder else path.parent
        nearest = next(folder for folder in (place, *place.parents) if os.path.exists(folder))
        if not nearest.is_dir():
            self.fail(f"{path}: {nearest} is not a folder", param, ctx)
        if not os.access(nearest, os.W_OK | os.X_OK):
            self.fail(f"{path}: the folder {nearest} cannot be written to", param, ctx)
        return path


NEW_FILE, NEW_FOLDER = NewPlace(is_folder=False), NewPlace(is_folder=True)
