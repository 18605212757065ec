"""Fetch free training audio: Debian packages by list, then one int16 memory map per group.

Nothing is installed: packages are downloaded with `apt-get download` (apt checks their
signatures) and unpacked with `dpkg-deb`. Every step skips what is already there, so an
interrupted run is resumed by the same command.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AUDIO_SUFFIXES = {".ogg", ".oga", ".opus", ".wav", ".flac", ".mp3", ".aif", ".aiff", ".g722"}
ARCHIVE_SUFFIXES = {".pk3", ".zip"}


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of packages.toml: a Debian package and the files of it that we use."""

    name: str
    group: str
    licence: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    quick: bool = False

    def wants(self, path: str) -> bool:
        """Whether the file at `path`, relative to the package, belongs to this entry."""
        return any(fnmatch.fnmatch(path, p) for p in self.include) and not any(fnmatch.fnmatch(path, p) for p in self.exclude)


@dataclass(frozen=True, slots=True)
class Source:
    """One audio file, on disk or inside a zip archive (`member`)."""

    package: Package
    path: Path
    member: str | None
    name: str  # stable across machines: "<package>/<path inside it>"


def read_packages(quick: bool = False) -> list[Package]:
    """The entries of packages.toml; `quick` keeps the 0.35 GB starting set."""
    text = (Path(__file__).parent / "packages.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = [
        {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in tomllib.loads(text)["package"]
    ]
    entries = [Package(**row) for row in rows]
    return [p for p in entries if p.quick or not quick]


def download(name: str, folder: Path) -> Path:
    """Download one .deb into `folder`, unless it is already there.

    Raises RuntimeError where apt is missing or does not know the package.
    """
    have = sorted(folder.glob(f"{name}_*.deb"))
    if have:
        return have[-1]
    if shutil.which("apt-get") is None:
        raise RuntimeError("apt-get not found: training audio comes from Debian packages; use --data with a folder of your own")
    folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True, text=True, check=False)
    have = sorted(folder.glob(f"{name}_*.deb"))
    if run.returncode or not have:
        last = (run.stderr.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"apt-get download {name}: {last} (try `apt-get update`)")
    return have[-1]


def unpack(deb: Path, folder: Path) -> Path:
    """Unpack a .deb under `folder`, once; returns the unpacked tree."""
    target = folder / deb.name.split("_")[0]
    if not target.exists():
        partial = folder / (target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        subprocess.run(["dpkg-deb", "-x", str(deb), str(partial)], check=True)
        partial.rename(target)
    return target


def list_sources(package: Package, tree: Path) -> Iterator[Source]:
    """Every audio file of `package` in its unpacked tree, in a fixed order."""
    for path in sorted(p for p in tree.rglob("*") if p.is_file()):
        inside = str(path.relative_to(tree))
        suffix = path.suffix.lower()
        if suffix in ARCHIVE_SUFFIXES and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = sorted(m for m in archive.namelist() if Path(m).suffix.lower() in AUDIO_SUFFIXES)
            for member in members:
                if package.wants(f"{inside}/{member}"):
                    yield Source(package, path, member, f"{package.name}/{inside}/{member}")
        elif suffix in AUDIO_SUFFIXES and package.wants(inside):
            yield Source(package, path, None, f"{package.name}/{inside}")


def is_validation(name: str) -> bool:
    """Whether a file belongs to the fixed validation slice: one in 50, by a hash of its name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 50 == 0


def fetch(output: Path, quick: bool = False, report=print) -> Path:
    """Download, unpack and pack everything; returns the folder of packed audio.

    `report` receives one line per step. A package that cannot be had is named and
    skipped, because one missing package must not cost the other twenty.
    """
    from .pack import pack_sources

    sources, missing = [], []
    for package in read_packages(quick):
        try:
            deb = download(package.name, output / "deb")
        except RuntimeError as error:
            missing.append(package.name)
            report(f"skipped {package.name}: {error}")
            continue
        found = list(list_sources(package, unpack(deb, output / "tree")))
        report(f"{package.name}: {len(found)} files of {package.group}")
        sources += found
    if not sources:
        raise RuntimeError("no training audio could be fetched: " + ", ".join(missing))
    packed = output / "packed"
    pack_sources(sources, packed, report)
    (packed / "licences.json").write_text(
        json.dumps({p.name: p.licence for p in read_packages(quick) if p.name not in missing}, indent=1, sort_keys=True) + "\n"
    )
    return packed
