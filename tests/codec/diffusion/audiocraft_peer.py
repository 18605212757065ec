"""audiocraft's multi-band diffusion, imported without what its packages need and these modules do not.

pip install --no-deps audiocraft==1.3.0 julius
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest


def load() -> SimpleNamespace:
    """The modules `unet`, `schedule`, `bands` (of julius) and `decoder`; skips the test where they are not installed.

    Empty packages stand in for the real ones, whose __init__ files import everything, and
    empty modules for what only loading and training use. None stays behind.
    """
    pytest.importorskip("julius")
    spec = importlib.util.find_spec("audiocraft")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("audiocraft is not installed")
    root = spec.submodule_search_locations[0]
    stand_ins = {}
    for name in ("audiocraft", "audiocraft.models", "audiocraft.modules", "audiocraft.solvers", "audiocraft.utils", "xformers"):
        stand_ins[name] = ModuleType(name)
        stand_ins[name].__path__ = [root + name.removeprefix("audiocraft").replace(".", "/")]
    for name, contents in {
        "xformers.ops": (),
        "audiocraft.models.encodec": ("CompressionModel",),
        "audiocraft.models.loaders": ("load_compression_model", "load_diffusion_models"),
        "audiocraft.solvers.compression": ("CompressionSolver",),
    }.items():
        stand_ins[name] = ModuleType(name)
        for attribute in contents:
            setattr(stand_ins[name], attribute, object)
    stand_ins["xformers"].ops = stand_ins["xformers.ops"]
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_stood_in(name)}
    sys.modules.update(stand_ins)
    try:
        return SimpleNamespace(
            unet=importlib.import_module("audiocraft.models.unet"),
            schedule=importlib.import_module("audiocraft.modules.diffusion_schedule"),
            decoder=importlib.import_module("audiocraft.models.multibanddiffusion"),
            julius=importlib.import_module("julius"),
        )
    finally:
        for name in [name for name in sys.modules if _is_stood_in(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


def _is_stood_in(name: str) -> bool:
    return name.split(".")[0] in ("audiocraft", "xformers")
