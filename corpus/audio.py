"""Open the audio of an item: a file, a URL, a member of a tar, a cell of a table, or a section of any of these."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..codec.audio import AudioError, AudioInfo, AudioSource
from .errors import CorpusError, is_fatal, one_line
from .items import Item
from .store import copy_to_local, filesystem, is_url

TRIES = 3  # attempts to read a URL
WAIT_SECONDS = 1.0  # before the second attempt; doubled each time


class Section:
    """The part of an open recording from `start` for `seconds`, with the interface of an AudioSource."""

    def __init__(self, audio: AudioSource, start: float, seconds: float | None) -> None:
        rate = audio.info.sample_rate
        self._audio, self.name = audio, audio.name
        self._first = round(start * rate)
        self._stop = None if seconds is None else self._first + round(seconds * rate)
        length = None if self._stop is None else self._stop - self._first
        self.info = AudioInfo(rate, audio.info.channels, length, audio.info.speakers)

    def tags(self) -> list[tuple[str, str]]:
        """Return no tags: those of the file are about all of it."""
        return []

    def blocks(self, n_samples: int | Callable[[], int] | None = None) -> Iterator[np.ndarray]:
        """Yield float32 blocks [C, n] of the section. Raises AudioError for damage in it, and if it has no sample."""
        at = 0
        for block in self._audio.blocks(n_samples):
            begin, end = max(self._first - at, 0), block.shape[1]
            end = end if self._stop is None else min(end, self._stop - at)
            if begin < end:
                yield block[:, begin:end]
            at += block.shape[1]
            if self._stop is not None and at >= self._stop:
                return
        if self._stop is not None and at < self._stop:
            rate = self.info.sample_rate
            raise AudioError(f"{self.name}: ends at {at / rate:.3f} s, a section to {self._stop / rate:.3f} s is wanted")


@contextlib.contextmanager
def open_audio(item: Item, lost: list[str] | None = None) -> Iterator[AudioSource | Section]:
    """Open an item's audio. Messages of its errors name the item, not the temporary file that may hold its bytes."""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(local_file(item))
        with named(path, item):
            audio: Any = stack.enter_context(AudioSource(path, lost=lost))
            audio.name = item.source
            yield audio if not item.start and item.seconds is None else Section(audio, item.start, item.seconds)


@contextlib.contextmanager
def named(path: str, item: Item) -> Iterator[None]:
    """Make errors of a temporary file name the item."""
    try:
        yield
    except AudioError as error:
        if path in str(error) and path != item.source:
            raise AudioError(str(error).replace(path, item.source)) from None
        raise


@contextlib.contextmanager
def local_file(item: Item) -> Iterator[str]:
    """Yield a local path with an item's bytes. Raises AudioError if they cannot be read."""
    if not item.part and not is_url(item.place):
        yield item.place
        return
    with tempfile.TemporaryDirectory(prefix="ecdc-") as folder:
        path = Path(folder) / f"audio{os.path.splitext(item.source)[1][:10]}"
        fetch(item, path)
        yield str(path)


def fetch(item: Item, path: Path) -> None:
    """Copy an item's bytes to a local file. Reading from URLs is repeated. Raises AudioError, or OSError for a full disk."""
    for i in range(TRIES):
        try:
            if item.part:
                path.write_bytes(part_bytes(item))
            else:
                copy_to_local(item.place, path)
            return
        except (FileNotFoundError, IsADirectoryError):
            raise AudioError(f"{item.source}: no such file") from None
        except CorpusError:
            raise
        except Exception as error:  # of any library behind fsspec
            if is_fatal(error):
                raise
            if i + 1 == TRIES or not is_url(item.place):
                raise AudioError(f"{item.source}: cannot be read ({one_line(error)})") from None
        time.sleep(WAIT_SECONDS * 2**i)


def part_bytes(item: Item) -> bytes:
    """Return the bytes of an item that is a part of a file."""
    kind, *where = item.part
    if kind == "bytes":
        return read_span(item.place, *where)
    if kind == "row":
        from .sources.tables import cell_bytes

        return cell_bytes(item.place, *where)
    if kind == "dataset":
        from .sources.tables import dataset_bytes

        return dataset_bytes(item.place, *where)
    raise CorpusError(f"{item.source}: no part of a file is called {kind!r}")


def read_span(place: str, offset: int, n_bytes: int) -> bytes:
    """Return bytes of a file. Raises AudioError if it is shorter than it was."""
    if is_url(place):
        fs, path = filesystem(place)
        data = bytes(fs.cat_file(path, start=offset, end=offset + n_bytes))
    else:
        with open(place, "rb") as file:
            file.seek(offset)
            data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise AudioError(f"{place}: ends inside a member at byte {offset}")
    return data
