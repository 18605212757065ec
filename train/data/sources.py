"""Sources of training audio: the package list, the audio files of a folder, and the fixed validation slice."""

from __future__ import annotations

import fnmatch
import hashlib
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...format.errors import ArgumentError

AUDIO_SUFFIXES = {".ogg", ".oga", ".opus", ".wav", ".flac", ".mp3", ".aif", ".aiff", ".g722"}
ARCHIVE_SUFFIXES = {".pk3", ".wz", ".zip"}  # all of them are zip files


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of packages.toml: a Debian package and which of its files are used."""

    name: str
    group: str
    licence: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    quick: bool = False

    def wants(self, path: str) -> bool:
        """Return True if the file at `path`, relative to the package, belongs to this entry."""
        return any(fnmatch.fnmatch(path, p) for p in self.include) and not any(fnmatch.fnmatch(path, p) for p in self.exclude)


@dataclass(frozen=True, slots=True)
class Source:
    """One audio file, on disk or inside a zip archive (`member`)."""

    package: Package
    path: Path
    member: str | None
    name: str  # the same on every machine: "<package>/<path inside it>"

    def read(self) -> bytes:
        """Return the bytes of the file. Raises OSError, KeyError or BadZipFile if it cannot be read."""
        return self.path.read_bytes() if self.member is None else open_archive(self.path).read(self.member)


@lru_cache(maxsize=2)
def open_archive(path: Path) -> zipfile.ZipFile:
    """Open an archive, and keep it open for the next file, because reading a large archive's directory is slow."""
    return zipfile.ZipFile(path)


def read_packages(quick: bool = False) -> list[Package]:
    """Return the entries of packages.toml; `quick` keeps only the 0.35 GB starter set."""
    text = (Path(__file__).parent / "packages.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = [
        {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in tomllib.loads(text)["package"]
    ]
    entries = [Package(**row) for row in rows]
    return [p for p in entries if p.quick or not quick]


def list_sources(package: Package, tree: Path) -> Iterator[Source]:
    """Yield every audio file of `package` in its unpacked tree, in a fixed order."""
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


def folder_sources(folder: Path, report: Callable[[str], object] = print) -> list[Source]:
    """Return a user's own folder of audio as one group named `data`; `report` says how many other files were ignored.

    Raises ValueError if there is no audio.
    """
    package = Package(folder.name, "data", "the user's own")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    paths = [p for p in files if p.suffix.lower() in AUDIO_SUFFIXES]
    known = ", ".join(sorted(suffix[1:] for suffix in AUDIO_SUFFIXES))
    if not paths:
        raise ArgumentError(f"{folder}: holds no audio files that can be packed ({known})")
    if len(paths) < len(files):
        report(f"ignored {len(files) - len(paths)} files that are not {known}")
    return [Source(package, p, None, f"data/{p.relative_to(folder)}") for p in paths]


def is_validation(name: str) -> bool:
    """Return True if a file belongs to the fixed validation slice: one in 50, by a hash of its name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 50 == 0


def validation_names(names: Iterable[str]) -> set[str]:
    """Return the names held out for validation: the fixed slice, or one file if a small folder has none in it."""
    names = list(names)
    chosen = {name for name in names if is_validation(name)}
    if not chosen and len(names) > 1:
        chosen = {min(names, key=lambda name: hashlib.sha256(name.encode()).digest())}
    return chosen
