"""ecdc: an open neural audio codec.

>>> import ecdc
>>> codec = ecdc.load("nano-24k")          # doctest: +SKIP
>>> codes = codec.encode(wav, kbps=6)      # [B, C, N] -> [B, K, T]  # doctest: +SKIP
>>> wav = codec.decode(codes)              # [B, K, T] -> [B, C, N]  # doctest: +SKIP
>>> with ecdc.open("song.ecdc") as file:   # doctest: +SKIP
...     tokens = file.codes(0, 75)         # [K, T]: no model, no torch

Importing this package loads neither torch nor numba: each name below is fetched
when it is first used, so that tools which only read tokens start at once.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load": "ecdc.codec.checkpoints",
    "models": "ecdc.codec.checkpoints",
    "encode_file": "ecdc.codec.pipeline",
    "decode_file": "ecdc.codec.pipeline",
    "open": "ecdc.format.api",
    "write": "ecdc.format.api",
    "Reader": "ecdc.format.reader",
    "Writer": "ecdc.format.writer",
}

__all__ = ["__version__", *sorted(_LAZY.keys() - {"open"})]  # `import *` leaves Python's own open() alone


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ecdc' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
