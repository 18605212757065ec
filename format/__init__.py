"""The `.ecdc` container: convert between bytes and numpy arrays of codes, without a model. SPEC.md describes the bytes.

>>> import hashlib, io
>>> import numpy as np
>>> from ecdc.format import Header, Reader, Writer
>>> header = Header(
...     codec="example", token_space=hashlib.sha256(b"its codebooks").digest(), sample_rate=24_000, hop_length=320,
...     codebook_size=1024, max_codebooks=8, original_sample_rate=44_100,
... )
>>> stream = io.BytesIO()
>>> with Writer(stream, header) as writer:
...     writer.append(np.arange(20).reshape(2, 10))  # K = 2 codebooks, T = 10 frames
>>> _ = stream.seek(0)
>>> Reader(stream).codes(3, 6)
array([[ 3,  4,  5],
       [13, 14, 15]], dtype=uint16)

Names are imported when first used, so a program loads only the parts that it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _HOME, for editors and type checkers
    from .api import CodeFile as CodeFile
    from .chunk import Chunk as Chunk
    from .errors import Corrupt as Corrupt
    from .errors import FormatError as FormatError
    from .errors import MissingPrior as MissingPrior
    from .errors import NotEcdc as NotEcdc
    from .errors import OverLimit as OverLimit
    from .errors import Truncated as Truncated
    from .errors import UnsupportedVersion as UnsupportedVersion
    from .errors import WrongModel as WrongModel
    from .header import Header as Header
    from .reader import Reader as Reader
    from .schema import ChannelCoding as ChannelCoding
    from .schema import Entropy as Entropy
    from .schema import Provenance as Provenance
    from .v0 import V0File as V0File
    from .v0 import read_v0 as read_v0
    from .v0 import write_v0 as write_v0
    from .writer import Writer as Writer

_HOME = {
    "CodeFile": "api",
    "Chunk": "chunk",
    "Corrupt": "errors",
    "FormatError": "errors",
    "MissingPrior": "errors",
    "NotEcdc": "errors",
    "OverLimit": "errors",
    "Truncated": "errors",
    "UnsupportedVersion": "errors",
    "WrongModel": "errors",
    "Header": "header",
    "Reader": "reader",
    "ChannelCoding": "schema",
    "Entropy": "schema",
    "Provenance": "schema",
    "V0File": "v0",
    "read_v0": "v0",
    "write_v0": "v0",
    "Writer": "writer",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
