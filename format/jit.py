"""Numba kernels that are compiled when they are first called."""

from __future__ import annotations

import functools
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Compile `function` with numba and its `options` at the first call.

    Importing numba takes longer than reading a small file, so it is imported only when a kernel is needed. The compiled
    code is cached on disk, beside the source or in the user's cache.
    """
    compiled: Callable[P, R] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal compiled
        if compiled is None:
            compiled = compile_now(function, **options)
        return compiled(*args, **kwargs)

    return call


def compile_now(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Compile `function` at once. Use it for kernels that call each other, in a module that is imported only when needed."""
    import numba

    njit: Any = numba.njit
    try:
        compiled: Callable[P, R] = njit(cache=True, error_model="numpy", **options)(function)
        _guard(compiled)
    except RuntimeError:  # no writable folder for the cache
        compiled = njit(error_model="numpy", **options)(function)
    return compiled


def is_cached(source: Path, name: str) -> bool:
    """Return True if numba's cache seems to hold a compiled kernel of a file, without importing numba, which takes long.

    It may be wrong: numba also looks at the file's time and at the processor, and has other places on other systems.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    cache = Path(named or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "numba"))
    folders = [*([] if named else [source.parent / "__pycache__"]), *cache.glob(f"{source.parent.name}_*")]
    pattern = f"{source.stem}.{name}-*.py{sys.version_info[0]}{sys.version_info[1]}*.nbi"
    return any(any(folder.glob(pattern)) for folder in folders)


def _guard(compiled: Any) -> None:
    """Make faults of numba's cache harmless: on a full disk nothing is kept, and a damaged entry is compiled again."""
    cache = getattr(compiled, "_cache", None)
    for name in ("save_overload", "load_overload"):
        method = getattr(cache, name, None)
        if method is not None:
            setattr(cache, name, _harmless(method))


def _harmless(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a cache that gives None instead of raising."""

    @functools.wraps(method)
    def call(*args: Any) -> Any:
        try:
            return method(*args)
        except (OSError, EOFError, ValueError, ImportError, pickle.UnpicklingError):
            return None

    return call
