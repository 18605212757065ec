"""Fetch free training audio: listed Debian packages, decoded once into masters, packed at any rate.

Nothing is installed: packages are downloaded with `apt-get download` (apt checks their
signatures), and only their audio is unpacked. Every step skips what already exists, so the same
command resumes an interrupted run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

from ...format.errors import EcdcError
from .pack import SAMPLE_RATE, build_masters, derive_pack, pack_path
from .sources import ARCHIVE_SUFFIXES, AUDIO_SUFFIXES, Package, Source, list_sources, read_packages


class FetchError(EcdcError, RuntimeError):
    """A package cannot be downloaded or unpacked."""


def download(name: str, folder: Path) -> Path:
    """Download one .deb into `folder`, unless it is already there. It appears there only when it is complete.

    Raises FetchError if apt is missing or does not know the package.
    """
    have = sorted(folder.glob(f"{name}_*.deb"))
    if have:
        return have[-1]
    if shutil.which("apt-get") is None:
        raise FetchError("apt-get not found: `fetch` needs Debian packages; use `ecdc train pack` on audio of your own")
    arriving = folder / "partial"  # an interrupted download stays here, and apt-get continues it
    arriving.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(["apt-get", "download", name], cwd=arriving, capture_output=True, text=True, check=False)
    have = sorted(arriving.glob(f"{name}_*.deb"))
    if run.returncode or not have:
        last = (run.stderr.strip() or "no output").splitlines()[-1]
        raise FetchError(f"apt-get download {name}: {last} (try `apt-get update`)")
    return have[-1].rename(folder / have[-1].name)


def unpack(deb: Path, folder: Path) -> Path:
    """Unpack audio and copyright files of a .deb under `folder`, once; return the unpacked tree.

    Of archives inside the package only the audio is kept. Raises FetchError for a file that is
    not a complete Debian package.
    """
    target = folder / deb.name.split("_")[0]
    if target.exists():
        return target
    partial = folder / (target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    patterns = [f"*{suffix}" for suffix in sorted(AUDIO_SUFFIXES | ARCHIVE_SUFFIXES)] + ["*/copyright*"]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as opened:
        options = ["-x", "--ignore-case", "--wildcards", "--wildcards-match-slash", "-C", str(partial)]
        tar = subprocess.run(["tar", *options, *patterns], stdin=opened.stdout, capture_output=True, text=True, check=False)
        assert opened.stdout is not None
        opened.stdout.close()
    # tar reports an error if a pattern matches nothing, which is fine here
    faults = [line for line in tar.stderr.splitlines() if "Not found in archive" not in line and "previous errors" not in line]
    if opened.returncode or faults:
        shutil.rmtree(partial)
        raise FetchError(f"{deb}: cannot be unpacked ({(faults or ['no whole package'])[0]}); delete it and fetch again")
    for path in [p for p in partial.rglob("*") if p.suffix.lower() in ARCHIVE_SUFFIXES and p.is_file()]:
        keep_audio(path)
    partial.rename(target)
    return target


def keep_audio(path: Path) -> None:
    """Rewrite a zip archive with only its audio files; delete it if it has none or is not a zip file."""
    if zipfile.is_zipfile(path):
        smaller = path.with_name(path.name + ".partial")
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(smaller, "w") as kept:
            for member in archive.infolist():
                if Path(member.filename).suffix.lower() in AUDIO_SUFFIXES:
                    kept.writestr(zipfile.ZipInfo(member.filename), archive.read(member))
            n_kept = len(kept.namelist())
        smaller.replace(path)
        if n_kept:
            return
    path.unlink()


def find_sources(output: Path, packages: list[Package], report=print) -> tuple[list[Source], list[str]]:
    """Download and unpack `packages`; return their audio files and the names of unavailable packages.

    An unavailable package is reported and skipped, so that it does not stop the others. A .deb that
    is unpacked is no longer needed and may be deleted.
    """
    sources: list[Source] = []
    missing: list[str] = []
    for package in packages:
        try:
            tree = output / "tree" / package.name
            if not tree.exists():
                tree = unpack(download(package.name, output / "deb"), output / "tree")
        except FetchError as error:
            missing.append(package.name)
            report(f"skipped {package.name}: {error}")
            continue
        found = list(list_sources(package, tree))
        report(f"{package.name}: {len(found)} files of {package.group}")
        sources += found
    return sources, missing


def fetch(
    output: Path, quick: bool = False, report=print, sample_rate: int = SAMPLE_RATE, jobs: int | None = None
) -> Path:  # fmt: skip
    """Download, unpack, decode and pack everything; return the folder of packed audio at `sample_rate` (Hz).

    `report` receives one line per step; `jobs` processes decode (default: one per core). Raises FetchError if packages could
    not be fetched; all others are packed nevertheless.
    """
    packages = read_packages(quick)
    sources, missing = find_sources(output, packages, report)
    if not sources:
        raise FetchError("no training audio could be fetched: " + ", ".join(missing))
    masters, packed = output / "masters", pack_path(output, sample_rate)
    build_masters(sources, masters, report, jobs)
    licences = {p.name: p.licence for p in packages if p.name not in missing}
    (masters / "licences.json").write_text(json.dumps(licences, indent=1, sort_keys=True) + "\n")
    derive_pack(masters, packed, sample_rate, report)
    if missing:
        text = f"holds all but {len(missing)} of {len(packages)} packages ({', '.join(missing)})"
        raise FetchError(f"{packed}: {text}; the same command adds them once they can be fetched")
    return packed
