"""The formats of shards. Each module has `files` and `write`; `write` gives the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from .rows import Row

__all__ = ["Row", "Shards", "shards_of"]


class Shards(Protocol):
    """A format of shards."""

    def files(self, shard: int, n_shards: int) -> list[str]:
        """Return the names of the files of a shard, in the corpus's folder."""
        ...

    def write(self, open_new: Callable[[str], Any], names: list[str], rows: list[Row], about: dict[str, Any]) -> None:
        """Write the rows of a shard. `open_new(name)` is a context manager that yields a local path for each file."""
        ...


def shards_of(format: str) -> Shards:
    """Return the module for a format of shards."""
    name = {"webdataset": "webdataset", "parquet": "parquet", "hf": "hub", "lhotse-shar": "shar"}[format]
    module: Any = import_module(f".{name}", __package__)
    return module
