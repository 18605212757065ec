"""Write the page, its models and a folder of files for any server of static files, so that phones and others can open it."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from ..format.errors import ArgumentError
from ..format.files import partial_path
from .web_server import Site


def write_site(site: Site, target: Path) -> list[Path]:
    """Copy all that the page needs into the folder `target`, which must be empty or missing; returns the files.

    The files appear when all are copied. Raises ArgumentError if the folder is neither empty nor missing, OSError if a file
    cannot be read or written; `target` is then as it was. The server needs nothing but range requests.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ArgumentError(f"{target}: is not an empty folder")
    is_new = not target.exists()
    partial = partial_path(target / "site")
    try:
        partial.mkdir(parents=True)
        _copy_all(site, partial)
        for path in partial.iterdir():
            path.rename(target / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # it holds the files
                target.rmdir()
    return sorted(path for path in target.rglob("*") if path.is_file())


def _copy_all(site: Site, target: Path) -> None:
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


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
