"""MusicGen (arXiv 2306.05284): generate EnCodec codes from text and melodies, with the published weights.

>>> from ecdc.plugins.musicgen import load, Options
>>> model = load("facebook/musicgen-small", int8=True)                      # doctest: +SKIP
>>> codes = model.generate(["a slow waltz"], Options(seconds=10))           # [B, K, T]  # doctest: +SKIP
>>> wav = model.decode(codes)                                               # [B, C, N]  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _HOME, for editors and type checkers
    from .checkpoint import load as load
    from .config import PUBLISHED as PUBLISHED
    from .config import MusicGenConfig as MusicGenConfig
    from .generate import Options as Options
    from .lm import MusicGenLM as MusicGenLM
    from .model import MusicGen as MusicGen
    from .patterns import DelayPattern as DelayPattern
    from .sampling import GREEDY as GREEDY
    from .sampling import Guidance as Guidance
    from .sampling import Sampling as Sampling
    from .source import MusicGenSource as MusicGenSource
    from .source import open_source as open_source

_HOME = {
    "load": "checkpoint",
    "PUBLISHED": "config",
    "MusicGenConfig": "config",
    "Options": "generate",
    "MusicGenLM": "lm",
    "MusicGen": "model",
    "DelayPattern": "patterns",
    "GREEDY": "sampling",
    "Guidance": "sampling",
    "Sampling": "sampling",
    "MusicGenSource": "source",
    "open_source": "source",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
