"""ecdc: an open neural audio codec.

>>> import ecdc
>>> codec = ecdc.load("nano-48k")          # doctest: +SKIP
>>> codes = codec.encode(wav, kbps=6)      # [B, C, N] -> [B, K, T]  # doctest: +SKIP
>>> wav = codec.decode(codes)              # [B, K, T] -> [B, C, N]  # doctest: +SKIP
>>> with ecdc.open("song.ecdc") as file:   # doctest: +SKIP
...     tokens = file.codes(0, 50)         # [K, T]: no model, no torch

Importing this package loads neither torch nor numba: each name below is fetched
when it is first used, so that tools which only read tokens start at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time each is fetched when it is first used
    from .codec import errors as errors
    from .codec.bundled import models as models
    from .codec.checkpoints import load as load
    from .codec.light.codec import LightCodec as LightCodec
    from .codec.model import Codec as Codec
    from .codec.pipeline import decode_file as decode_file
    from .codec.pipeline import encode_file as encode_file
    from .codec.runtime import open_codec as open_codec
    from .format.api import CodeFile as CodeFile
    from .format.api import open as open
    from .format.api import write as write
    from .format.errors import EcdcError as EcdcError
    from .format.header import Header as Header
    from .format.reader import Reader as Reader
    from .format.writer import Writer as Writer

__version__ = "0.1.0"

_LAZY = {
    "load": "ecdc.codec.checkpoints",
    "models": "ecdc.codec.bundled",
    "open_codec": "ecdc.codec.runtime",
    "encode_file": "ecdc.codec.pipeline",
    "decode_file": "ecdc.codec.pipeline",
    "Codec": "ecdc.codec.model",
    "LightCodec": "ecdc.codec.light.codec",
    "open": "ecdc.format.api",
    "write": "ecdc.format.api",
    "CodeFile": "ecdc.format.api",
    "Header": "ecdc.format.header",
    "Reader": "ecdc.format.reader",
    "Writer": "ecdc.format.writer",
    "EcdcError": "ecdc.format.errors",
    "errors": "ecdc.codec",
}

__all__ = ["__version__", *sorted(_LAZY.keys() - {"open"})]  # `import *` leaves Python's own open() alone


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ecdc' has no attribute {name!r}")
    if name == "errors":
        return import_module("ecdc.codec.errors")
    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from .codec.runtime import MissingTorch

        raise MissingTorch(f"ecdc.{name} needs PyTorch, which is not installed: pip install -e '.[torch]'") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
