"""Token generators: found by entry point, written by the container's writer, and nothing more is known of them.

A package adds one by an entry point in the group `ecdc.generators`, which names a function
like `Opener` below. In its pyproject.toml:

    [project.entry-points."ecdc.generators"]
    mymodel = "mypackage.ecdc:open_source"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import numpy as np

from ..format.errors import EcdcError
from ..format.header import Header
from ..format.writer import Writer

if TYPE_CHECKING:  # whoever lists generators need not wait for torch
    from ..codec.model import Codec
    from ..codec.protocols import TokenSource

GROUP = "ecdc.generators"
CHUNK_SECONDS, FIRST_SECONDS = 1.0, 0.25  # short, so that a listener at the end of a pipe hears early; the first even shorter


class Opener(Protocol):
    """What an entry point names."""

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
        """A source that makes `seconds` of audio by the model of that name or path; `codec`: in place of its own.

        `ecdc generate` also gives those of these options that were asked for: `channels`, 1 or 2; `start`, what to
        continue, as a CodeFile or a Sound; `melody`, a Sound; `guidance`, `temperature` and `top_p`, numbers; `top_k`, a
        whole one; `int8` and `separate`, true or false. Raises ValueError, in one line, for what the model cannot do.
        """
        ...


@dataclass(frozen=True)
class Sound:
    """Audio that a generator is given."""

    audio: np.ndarray  # float32 [C, N]
    sample_rate: int  # Hz


class GeneratorError(EcdcError, ValueError):
    """A generator that is not there or cannot be loaded; one line."""


def generators() -> dict[str, EntryPoint]:
    """The installed generators by name, without importing any of them."""
    return {point.name: point for point in entry_points(group=GROUP)}


def generator(name: str) -> Opener:
    """The function that opens a source; raises GeneratorError where there is none of that name or it does not load."""
    found = generators()
    if name not in found:
        raise GeneratorError(f"{name}: no such generator (installed: {', '.join(sorted(found)) or 'none'})")
    try:
        return cast(Opener, found[name].load())
    except (ImportError, AttributeError) as error:
        raise GeneratorError(f"{name}: cannot be loaded ({found[name].value}): {error}") from error


def write(
    source: TokenSource,
    fileobj: BinaryIO,
    progress: Callable[[float], None] = lambda seconds: None,
    chunk_seconds: float = CHUNK_SECONDS,
    ends: Callable[[], bool] = lambda: False,
) -> Header:
    """Write all that a source makes as a stream, while it is made; returns the header.

    `progress` receives the seconds of audio of each block; `ends` is asked after each whether to end the stream there.
    An exception leaves a stream without its end, which no reader takes for whole.
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
