"""Corpora: tokenise many hours of audio into shards, and read the tokens for training.

    from ecdc.corpus import Settings, encode_corpus, TokenDataset
    encode_corpus(["recordings/"], "tokens/", Settings(model="nano-48k", kbps=6))
    dataset = TokenDataset("tokens/", frames=300)

Importing this package loads neither torch nor any of the libraries that sources, outputs and engines need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time each is fetched when it is first used
    from .collate import Collate as Collate
    from .dataset import TokenDataset as TokenDataset
    from .errors import CorpusError as CorpusError
    from .run import Engine as Engine
    from .run import encode_corpus as encode_corpus
    from .settings import Settings as Settings
    from .stream import TokenStream as TokenStream
    from .verify import describe_corpus as describe_corpus
    from .verify import verify_corpus as verify_corpus

_LAZY = {
    "Collate": "collate", "CorpusError": "errors", "Engine": "run", "Settings": "settings", "TokenDataset": "dataset",
    "TokenStream": "stream", "describe_corpus": "verify", "encode_corpus": "run", "verify_corpus": "verify",
}  # fmt: skip

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ecdc.corpus' has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __package__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
