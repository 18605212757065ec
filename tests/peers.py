"""The peers that our results are held against, imported so that they run where some of their needs are missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def encodec_binary() -> ModuleType:
    """`encodec.binary` alone, which is plain Python: without the seconds that its package takes to load torch."""
    package = importlib.util.find_spec("encodec")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "binary.py"
    spec = importlib.util.spec_from_file_location("encodec_binary", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
