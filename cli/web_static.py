"""Write the page, its models and a folder of files for any server of static files, so that phones and others can open it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..format.errors import ArgumentError
from .web_server import Site


def write_site(site: Site, target: Path) -> list[Path]:
    """Copy all that the page needs into the folder `target`, which must be empty or missing; returns the files.

    Raises ArgumentError if it is neither, OSError if it cannot be written. The server needs nothing but range requests.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ArgumentError(f"{target}: is not an empty folder")
    shutil.copytree(site.page, target, dirs_exist_ok=True)
    catalog, files = site.catalog(), site.files()
    for address, path in site.models.items():
        _copy(path, target / address.removeprefix("/"))
    for row in files:
        assert site.folder is not None
        _copy(site.folder / row["name"], target / "files" / row["name"])
    (target / "catalog.json").write_bytes(catalog)
    listing = {"files": files, "more": 0, "folder": bool(site.folder), "generate": False}
    (target / "files.json").write_text(json.dumps(listing))
    return sorted(path for path in target.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
