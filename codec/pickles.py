"""PyTorch's pickled files, read without running anything that they contain.

`torch.load(weights_only=True)` does the reading. Training checkpoints also hold their
configuration as OmegaConf objects; these are read into empty stand-in classes, so that
neither that library nor its code is needed.
"""

from __future__ import annotations

import collections
import itertools
import pickle
import re
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError

MAX_ITEMS = 200_000  # of dicts and lists in a file


class _Stub:
    """Takes the attributes of an object whose class is not loaded."""


_OMEGACONF = (
    ("dictconfig", "DictConfig"),
    ("listconfig", "ListConfig"),
    ("base", "ContainerMetadata"),
    ("base", "Metadata"),
    *(("nodes", f"{kind}Node") for kind in ("Any", "String", "Integer", "Float", "Boolean", "Bytes")),
)
_ALLOWED: list[Any] = [
    *((_Stub, f"omegaconf.{module}.{name}") for module, name in _OMEGACONF),
    *((kind, f"builtins.{kind.__name__}") for kind in (dict, list, int, float, str, bool)),
    (typing.Any, "typing.Any"),
    collections.defaultdict,
]


def read_pickle(path: Path, mmap: bool = False) -> Any:
    """Tensors and plain containers of a file written by `torch.save`; with `mmap`, tensors stay in the file until used.

    Raises CheckpointError where the file is none or names anything that is not data; it is
    refused before that is imported or run.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickle protocols, which foreign files have
            return _plain(torch.load(path, map_location="cpu", weights_only=True, mmap=mmap), itertools.count())
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"refused, because it asks for {found[1]}, which is no data" if found else "not a PyTorch checkpoint"
        raise CheckpointError(f"{path}: {reason}") from error
    except Exception as error:  # whatever bytes that are no checkpoint lead to
        raise CheckpointError(f"{path}: not a PyTorch checkpoint") from error


def _plain(value: Any, counter: Iterator[int]) -> Any:
    """Stand-ins for OmegaConf objects become the dicts, lists and values that they held.

    A file may nest shared lists so that they would unfold to any size, or in circles. Raises
    ValueError where more than MAX_ITEMS come out.
    """
    if next(counter) > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS} items")
    if isinstance(value, _Stub):
        return _plain(vars(value).get("_content", vars(value).get("_val")), counter)
    if isinstance(value, dict):
        return {key: _plain(item, counter) for key, item in value.items()}
    return [_plain(item, counter) for item in value] if isinstance(value, list | tuple) else value
