"""Read PyTorch's pickled files without running any code in them.

`torch.load(weights_only=True)` reads them. Training checkpoints also hold their configuration as
OmegaConf objects, which are read into empty stand-in classes, so that library is not needed.
"""

from __future__ import annotations

import collections
import io
import itertools
import pickle
import re
import typing
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch._weights_only_unpickler import Unpickler  # the one that torch.load(weights_only=True) uses

from ..format.errors import ArgumentError
from .errors import CheckpointError

MAX_ITEMS = 200_000  # of dicts and lists in a file


class _Stub:
    """Holds the attributes of an object whose class is not loaded."""


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
    """Read tensors and plain containers from a file of `torch.save`; with `mmap`, tensors stay in the file until used.

    Raises CheckpointError if the file is invalid, refers to anything but data, or would expand beyond
    its own size. It is refused before anything is imported, run or allocated.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickle protocols, which foreign files have
            if zipfile.is_zipfile(path):
                _check_archive(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
            return _Plain(2 * path.stat().st_size + (1 << 20))(content)
    except _Refused as error:
        raise CheckpointError(f"{path}: refused, because {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"refused, because it asks for {found[1]}, which is no data" if found else "not a PyTorch checkpoint"
        raise CheckpointError(f"{path}: {reason}") from error
    except Exception as error:  # anything that invalid bytes may cause
        raise CheckpointError(f"{path}: not a PyTorch checkpoint") from error


class _Refused(ValueError):
    """A file asks for something that is refused."""


def _check_archive(path: Path) -> None:
    """Raise _Refused if a zip file is compressed, or if a storage claims to be larger than its bytes.

    torch.load would inflate compressed data to any size, and read a storage from beyond its memory. The pickle is read as in
    torch.load, but with storages on the meta device, which uses no memory.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise _Refused("its tensors are compressed, which torch.save never does")
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size or len(entries) < len(archive.infolist()):
            raise _Refused("its parts overlap")
        folder = next(iter(entries)).split("/")[0]
        unpickler = Unpickler(io.BytesIO(archive.read(f"{folder}/data.pkl")), encoding="utf-8")

    def storage(claim: Any) -> torch.storage.TypedStorage:
        _, kind, key, _, n_items = claim
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        n_bytes, entry = n_items * dtype.itemsize, entries.get(f"{folder}/data/{key}")
        if entry is None or not 0 <= n_bytes <= entry.file_size:
            raise _Refused(f"tensor data {str(key)[:20]!r} is missing or shorter than its {n_bytes} bytes")
        hollow = torch.UntypedStorage(n_bytes, device="meta")
        return torch.storage.TypedStorage(wrap_storage=hollow, dtype=dtype, _internal=True)

    unpickler.persistent_load = storage  # type: ignore[method-assign]
    unpickler.load()


class _Plain:
    """Convert stand-ins for OmegaConf objects to the dicts, lists and values in them, and check the contents.

    A file may nest shared lists so that they expand without limit, or in circles, and its tensors may repeat or share bytes.
    Raises ValueError for more than MAX_ITEMS items, and _Refused if tensors have more than `most_bytes`.
    """

    def __init__(self, most_bytes: int) -> None:
        self._bytes_left, self._items = most_bytes, itertools.count()

    def __call__(self, value: Any) -> Any:
        if next(self._items) > MAX_ITEMS:
            raise ArgumentError(f"more than {MAX_ITEMS} items")
        if isinstance(value, _Stub):
            return self(vars(value).get("_content", vars(value).get("_val")))
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, torch.Tensor):
            return self._checked(value)
        return [self(item) for item in value] if isinstance(value, list | tuple) else value

    def _checked(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise _Refused("it holds a tensor that is not a plain array")
        self._bytes_left -= tensor.numel() * tensor.element_size()
        if self._bytes_left < 0:
            raise _Refused("its tensors are larger than the file")
        return tensor
