"""Folders as inputs: select the files, name their outputs, and find outputs that exist already."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from .common import InputError, check_kind, check_output, describe, output_for, plan

PARTIAL = ".partial"


@dataclass
class Plan:
    """The work that a command line asks for."""

    jobs: list[tuple[str, str]] = field(default_factory=list)  # (source, target) pairs to process
    n_existing: int = 0  # inputs that are skipped because their outputs exist
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (file, reason) for files that are not selected
    failed: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) for files and folders that cannot be processed
    has_folders: bool = False


def plan_all(
    inputs: tuple[str, ...], suffixes: frozenset[str], suffix: str, output: str | None, output_dir: str | None, force: bool,
    skip_existing: bool | None,
) -> Plan:  # fmt: skip
    """Return the plan of a command line; see `plan` for files and `plan_folders` for folders.

    If `skip_existing` is None, existing outputs are skipped only with folders and without `force`.
    """
    if force and skip_existing:
        raise click.UsageError("give --force or --skip-existing, not both")
    if not any(name != "-" and Path(name).is_dir() for name in inputs):
        if not skip_existing:
            return Plan(plan(inputs, suffixes, suffix, output, output_dir, force))
        jobs = plan(inputs, suffixes, suffix, output, output_dir, force, may_exist=True)
        missing = [job for job in jobs if job[1] == "-" or not Path(job[1]).is_file()]
        return Plan(missing, len(jobs) - len(missing))
    if output is not None:
        raise click.UsageError("-o is one output file; use --output-dir for folders")
    if output_dir is not None and Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise InputError(f"{output_dir}: is not a folder; give another --output-dir")
    return plan_folders(inputs, suffixes, suffix, output_dir, force, skip_existing is not False)


def plan_folders(
    inputs: tuple[str, ...], suffixes: frozenset[str], suffix: str, output_dir: str | None, force: bool, skip_existing: bool
) -> Plan:
    """Find the files with one of `suffixes` in folders, at any depth, and name the outputs, which end in `suffix`.

    The tree is mirrored in `output_dir`, or outputs go beside their sources. Output names depend only on
    input names, so that an interrupted run can be continued. Raises InputError if there is nothing to
    process, click.UsageError for standard input.
    """
    if "-" in inputs:
        raise click.UsageError("'-' cannot be given together with a folder")
    found = Plan(has_folders=True)
    sources: list[tuple[str, Path | None]] = []
    for name in inputs:
        if Path(name).is_dir():
            sources += [(path, Path(name)) for path in _walk(Path(name), suffixes, output_dir, found)]
        else:
            sources.append((name, None))
    named = _targets(sources, suffix, output_dir)
    ours = {_place(target) for _, target in named}
    found.left_out = [(path, why) for path, why in found.left_out if _place(path) not in ours]
    if not sources and not found.failed:
        why = f"no file to process in this folder ({', '.join(sorted(suffixes))})"
        if not found.left_out:
            raise InputError(f"{inputs[0]}: {why}")
        found.failed.append((inputs[0], why))
    times = Counter(_place(target) for _, target in named)
    for source, target in named:
        if times[_place(target)] > 1:
            found.failed.append((source, f"another input would be written to {target} too; use two commands"))
        else:
            _add(found, source, target, suffix, force, skip_existing and not force)
    return found


def _add(found: Plan, source: str, target: str, suffix: str, force: bool, skip: bool) -> None:
    """Add an input to the plan: as a job, as skipped because its output exists, or as failed."""
    try:
        if target == source:
            check_kind(source, suffix)
        if skip and target != source and Path(target).is_file():
            found.n_existing += 1
        else:
            check_output([source], target, force)
            found.jobs.append((source, target))
    except (InputError, OSError) as error:
        found.failed.append((source, describe(error)))


def _walk(root: Path, suffixes: frozenset[str], output_dir: str | None, found: Plan) -> Iterator[str]:
    """Yield the files to process, in the order of their names; the others are recorded in `found`."""
    own = os.path.realpath(output_dir) if output_dir else None

    def unreadable(error: OSError) -> None:
        found.failed.append((str(error.filename), f"cannot be read ({error.strerror})"))

    for folder, folders, files in os.walk(root, onerror=unreadable):
        folders.sort()
        if own is not None and own != os.path.realpath(root):
            folders[:] = [name for name in folders if os.path.realpath(os.path.join(folder, name)) != own]
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                found.left_out.append((os.path.join(folder, name), "is a link to a folder, which is not followed"))
        for name in sorted(files):
            path = os.path.join(folder, name)
            why = _reason(path, name, suffixes)
            if why is None:
                yield path
            elif not (name.startswith(".") and name.endswith(PARTIAL)):
                found.left_out.append((path, why))


def _reason(path: str, name: str, suffixes: frozenset[str]) -> str | None:
    """Return why a file is not selected, or None if it is."""
    if name.startswith("._"):
        return "holds only what macOS stores about another file"
    if os.path.splitext(name)[1].lower() not in suffixes:
        if name.lower().endswith(".ecdc"):
            return "is an .ecdc file already"
        known = ".ecdc" if suffixes == {".ecdc"} else "a known suffix of audio"
        return f"its name does not end in {known}; to process it, give the file itself as INPUT"
    if not os.path.isfile(path):
        return "is not a regular file" if os.path.exists(path) else "is a link to nothing"
    return None


def _targets(sources: list[tuple[str, Path | None]], suffix: str, output_dir: str | None) -> list[tuple[str, str]]:
    """Return (source, target) for each input: a.ecdc, or a.wav.ecdc and a.flac.ecdc if both would be a.ecdc."""
    short = [(source, output_for(source, root, suffix, None, output_dir)) for source, root in sources]
    long = [str(Path(target).with_name(Path(source).name + suffix)) for source, target in short]
    is_long = [False] * len(short)
    while True:
        targets = [long[i] if is_long[i] else short[i][1] for i in range(len(short))]
        times = Counter(target.casefold() for target in targets)
        clashing = [i for i, target in enumerate(targets) if not is_long[i] and times[target.casefold()] > 1]
        if not clashing:
            return [(source, target) for (source, _), target in zip(short, targets, strict=True)]
        for i in clashing:
            is_long[i] = True


def _place(path: str) -> str:
    """Return the path with its folder resolved, so that each file has one spelling; a link as the file itself is kept."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)
