"""Token generators: found by entry point, and written to the container. Nothing else needs to be known about them.

A package adds one with an entry point in the group `ecdc.generators`, which names a function
like `Opener` below. In its pyproject.toml:

    [project.entry-points."ecdc.generators"]
    mymodel = "mypackage.ecdc:open_source"
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import numpy as np

from ..codec.runtime import TORCH_NAMES
from ..format.errors import EcdcError
from ..format.header import Header
from ..format.writer import Writer

if TYPE_CHECKING:  # listing generators must not import torch
    from ..codec.model import Codec
    from ..codec.protocols import TokenSource
    from ..format.api import CodeFile

GROUP = "ecdc.generators"
CHUNK_SECONDS, FIRST_SECONDS = 1.0, 0.25  # short, so that a listener at the end of a pipe hears sound early


class Opener(Protocol):
    """The function that an entry point names."""

    def __call__(
        self,
        model: str,
        codec: Codec | None = None,
        *,
        prompt: str | None = None,
        seconds: float = ...,
        seed: int = 0,
        **options: Any,
    ) -> TokenSource:
        """Return a source of `seconds` of audio from the model of that name or path; `codec` replaces its own.

        `ecdc generate` also passes those of these options that the user set: `channels`, 1 or 2; `start`, the music to
        continue, a CodeFile or a Sound; `melody`, a Sound; `guidance`, `temperature` and `top_p`, numbers; `top_k`, an
        integer; `int8` and `separate`, booleans. Raises ValueError, in one line, for what the model cannot do. If the source
        has an attribute `notes`, the command prints these lines on standard error.
        """
        ...


@dataclass(frozen=True)
class Sound:
    """Audio passed to a generator."""

    audio: np.ndarray  # float32 [C, N]
    sample_rate: int  # Hz


def first_seconds(blocks: Iterable[np.ndarray], sample_rate: int, seconds: float) -> Sound | None:
    """Return the first `seconds` of audio blocks [C, N], and read no further; None if there are no samples."""
    most, kept = seconds * sample_rate, list[np.ndarray]()
    n_samples = 0
    for block in blocks:
        kept.append(block)
        n_samples += block.shape[1]
        if n_samples >= most:
            break
    if not n_samples:
        return None
    return Sound(np.concatenate(kept, axis=1)[:, : None if n_samples < most else round(most)], sample_rate)


def decoded(file: CodeFile, seconds: float = math.inf) -> Sound:
    """Decode at most the first `seconds` of a file, opened by its path, with the bundled codec that it names.

    Raises WrongModel if there is no such codec, and another FormatError if the file is damaged.
    """
    from ..codec.errors import CheckpointError
    from ..codec.pipeline import decode_blocks
    from ..codec.runtime import shared_bundled
    from ..format.errors import WrongModel
    from ..format.header import offset_of
    from ..format.reader import Reader

    try:
        codec = shared_bundled(file.codec)
    except CheckpointError:
        text = f"its codec {file.codec[:80]!r} is not bundled: give the audio that `ecdc decode --model` makes of it"
        raise WrongModel(offset_of("codec"), text) from None
    with open(file.name, "rb") as stream:
        sound = first_seconds(decode_blocks(codec, Reader(stream)), codec.sample_rate, seconds)
    return sound or Sound(np.zeros((file.channels, 0), np.float32), codec.sample_rate)


class GeneratorError(EcdcError, ValueError):
    """A generator is missing or cannot be loaded; one line."""


def generators() -> dict[str, EntryPoint]:
    """Return the installed generators by name, without importing them."""
    return {point.name: point for point in entry_points(group=GROUP)}


def generator(name: str) -> Opener:
    """Return the function that opens a source; raises GeneratorError if there is none of that name or it fails to load."""
    found = generators()
    if name not in found:
        raise GeneratorError(f"{name}: no such generator (installed: {', '.join(sorted(found)) or 'none'})")
    try:
        return cast(Opener, found[name].load())
    except (ImportError, AttributeError) as error:
        if getattr(error, "name", None) in TORCH_NAMES:
            raise  # the caller says how to install it
        raise GeneratorError(f"{name}: cannot be loaded ({found[name].value}): {error}") from error


def write(
    source: TokenSource,
    fileobj: BinaryIO,
    progress: Callable[[float], None] = lambda seconds: None,
    chunk_seconds: float = CHUNK_SECONDS,
    ends: Callable[[], bool] = lambda: False,
) -> Header:
    """Write everything that a source generates as a stream, while it is generated; returns the header.

    `progress` receives the seconds of audio of each block. `ends` is called after each block; if it returns True, the stream
    ends there. After an exception the stream has no end marker, so no reader takes it for complete.
    """
    header, is_heard = source.header(), False
    with Writer(fileobj, header, max(1, min(round(chunk_seconds * header.frame_rate), header.chunk_limit))) as writer:
        for block in source.blocks():
            writer.append(block)
            if not is_heard and writer.n_frames >= FIRST_SECONDS * header.frame_rate:
                writer.flush()
                is_heard = True
            progress(float(block.shape[1] / header.frame_rate))
            if ends():
                break
    return header
