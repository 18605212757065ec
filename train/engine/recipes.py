"""Find recipes by name, and read them strictly. A recipe is a TOML file with the settings of a run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from ...codec.config import ConfigError, Strict

RECIPES = Path(__file__).parents[1] / "recipes"
R = TypeVar("R", bound=Strict)


def read_recipe(path: Path, kind: type[R]) -> R:
    """Read a recipe file of a `kind`; raises ConfigError that names the file and the fault."""
    try:
        return kind.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, given the name of a bundled one or a path; raises ConfigError for neither."""
    bundled = RECIPES / f"{name}.toml"
    path = bundled if bundled.exists() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise ConfigError(f"{name}: no such recipe (bundled: {known})")
    return path
