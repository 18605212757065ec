"""The models that the browser's tests decode with: the bundled ones, and small split codecs of the other shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import small_prior
from ecdc.codec.bundled import BUNDLED, bundled_names
from ecdc.codec.checkpoints import save
from ecdc.codec.light.export import write_structures
from ecdc.codec.light.load import load_light
from ecdc.format.entropy.prior import COMPRESSED, Prior, unpacked
from split_models import LATER, build

SMALL = {
    "split without gains": {},
    "split at 24 kHz": {"core_factor": 1, "hop_length": 480, "top_bands": 0, **LATER},
}
MODELS = [*bundled_names(), *SMALL]


def model_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each model by its name; the small ones are written into `root`."""
    found = {name: BUNDLED / name for name in bundled_names()}
    for name, options in SMALL.items():
        found[name] = root / name.replace(" ", "-")
        save(build(**options), found[name])
        write_structures(found[name])
    return found


def write_priors(folders: dict[str, Path], root: Path) -> dict[str, Prior]:
    """Write a small prior for the codes of each model into `root`; returns them by the names of the models."""
    made = {}
    for name, folder in folders.items():
        codec = load_light(folder)
        sizes = {"K": codec.config.n_codebooks, "V": codec.config.codebook_size, "H": 4, "L": 1}
        made[name] = Prior(small_prior.made(**sizes), codec.token_space)
        made[name].save(root / f"{folder.name}.prior")
    return made


def addresses(root: Path) -> Callable[[Path], str]:
    """Return a function to a catalog's address of a file: its path, of compressed files that of a copy in `root`."""

    def address(path: Path) -> str:
        if path.suffix != COMPRESSED:
            return str(path)
        plain = root / path.name.removesuffix(COMPRESSED)
        plain.write_bytes(unpacked(path))
        return str(plain)

    return address
