"""Find installed entropy priors, by their hash or by the token space whose codes they predict."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingPrior
from ..header import Header, offset_of

if TYPE_CHECKING:
    from .prior import Prior

FOLDERS = "ECDC_PRIORS"  # the environment variable that names folders and files of priors
SUFFIXES = (".prior", ".prior.gz")
BUNDLED = Path(__file__).parents[1] / "priors"


def load_prior(header: Header) -> Prior:
    """Load the prior that a stream's header names; raises MissingPrior, with the hashes of the installed ones."""
    prior = _by_hash(header.prior, header.token_space, os.environ.get(FOLDERS, ""))
    if (prior.codebook_size, header.max_codebooks <= prior.n_codebooks) != (header.codebook_size, True):
        wanted = f"{prior.n_codebooks} codebooks of {prior.codebook_size} entries"
        raise MissingPrior(
            offset_of("prior"),
            f"its prior is for {wanted}, the stream has {header.max_codebooks} of {header.codebook_size}",
            header.prior,
        )
    return prior


def find_prior(token_space: bytes) -> Prior | None:
    """Return an installed prior for the codes of this token space, or None. Other priors are not read."""
    for path in _paths():
        with contextlib.suppress(OSError, ValueError):
            if _is_for(token_space, path):
                return _read(path, path.stat().st_mtime_ns)
    return None


def known_priors() -> Iterator[tuple[Path, Prior]]:
    """Yield every installed prior: first those that ECDC_PRIORS names, then the bundled ones. Unreadable files are skipped."""
    for path in _paths():
        try:
            prior = _read(path, path.stat().st_mtime_ns)
        except (OSError, ValueError):
            continue
        yield path, prior


def _paths() -> Iterator[Path]:
    named = [Path(text) for text in os.environ.get(FOLDERS, "").split(os.pathsep) if text]
    for place in (*named, BUNDLED):
        yield from sorted(p for p in place.glob("*.prior*") if p.name.endswith(SUFFIXES)) if place.is_dir() else [place]


def _by_likelihood(token_space: bytes) -> list[Path]:
    """Return the files of priors, those for a token space first, because a prior takes time to read."""
    return sorted(_paths(), key=lambda path: not _is_for(token_space, path))


def _is_for(token_space: bytes, path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return _space(path, path.stat().st_mtime_ns) == token_space
    return False


@functools.lru_cache(maxsize=64)
def _space(path: Path, _changed: int) -> bytes:
    from .prior import read_token_space

    return read_token_space(path)


@functools.lru_cache(maxsize=2)  # few: whoever looks for a prior that is missing reads all of them
def _read(path: Path, _changed: int) -> Prior:
    from .prior import read_prior

    return read_prior(path)


@functools.lru_cache(maxsize=64)
def _hash(path: Path, changed: int) -> bytes:
    return _read(path, changed).hash


@functools.lru_cache(maxsize=16)
def _by_hash(wanted: bytes, token_space: bytes, _folders: str) -> Prior:
    here = []
    for path in _by_likelihood(token_space):
        with contextlib.suppress(OSError, ValueError):
            changed = path.stat().st_mtime_ns
            found = _hash(path, changed)
            if found == wanted:
                return _read(path, changed)
            here.append(f"{path.name} {found.hex()}")
    raise MissingPrior(
        offset_of("prior"),
        f"the codes need the entropy prior {wanted.hex()}, but the priors here are {', '.join(here) or 'none'}: "
        f"put its file into a folder and name that in {FOLDERS}",
        wanted,
    )
