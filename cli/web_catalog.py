"""The models and priors that the browser may load. No model is converted: the browser reads parts of our own files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..codec.bundled import BUNDLED, CONFIG, WEIGHTS, bundled_names
from ..codec.default_model import DEFAULT_MODEL
from ..codec.light.load import is_light, load_light
from ..codec.light.names import DECODER, ENCODER, ENDING
from ..format.entropy.installed_priors import known_priors

Address = Callable[[Path], str]  # returns where the browser finds a file


def catalog(address: Address, folders: list[Path] | None = None) -> dict[str, Any]:
    """Describe the models in `folders` (None: the bundled ones) that have graphs, and all installed priors.

    The browser reads the graphs, and of the weights only the parts that it needs.
    """
    found = [BUNDLED / name for name in bundled_names()] if folders is None else folders
    priors = [(path, prior) for path, prior in known_priors()]
    by_space = {prior.token_space.hex(): prior.hash.hex() for _, prior in reversed(priors)}
    models = [_model(folder, address, by_space) for folder in found if is_light(folder)]
    default = {"default": DEFAULT_MODEL} if any(model["name"] == DEFAULT_MODEL for model in models) else {}
    return {
        "models": models,
        **default,
        "priors": [{"hash": prior.hash.hex(), "file": address(path)} for path, prior in priors],
    }


def _model(folder: Path, address: Address, priors: dict[str, str]) -> dict[str, Any]:
    codec = load_light(folder)
    space = codec.token_space.hex()
    ending = {"end": address(folder / ENDING)} if (folder / ENDING).is_file() else {}
    return {
        "name": codec.config.name,
        "tokenSpace": space,
        "config": json.loads((folder / CONFIG).read_text()),
        "encoder": address(folder / ENCODER),
        "decoder": address(folder / DECODER),
        **ending,
        "weights": address(folder / WEIGHTS),
        "weightsName": WEIGHTS,
        "weightsSize": (folder / WEIGHTS).stat().st_size,
        "prior": priors.get(space),
    }
