"""Open the audio of an item: a file, a URL, a member of a tar, a cell of a table, or a section of any of these."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..codec.audio import AudioError, AudioInfo, AudioSource
from ..format.arguments import path_name
from .errors import CorpusError, is_fatal, one_line
from .items import Item
from .store import copy_to_local, filesystem, is_url

TRIES = 3  # attempts to read a URL
WAIT_SECONDS = 1.0  # before the second attempt; doubled each time
MAX_HELD = 1 << 26  # bytes of a section that stay in memory to be read twice


class Playback:
    """An open recording that sections are read from, forwards. With `partial`, `lost` has a line about damage met so far."""

    def __init__(self, item: Item, partial: bool) -> None:
        self.place = item.place, item.part
        self.lost: list[str] = []
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(local_file(item))
            with named(path, item):
                self.audio = stack.enter_context(AudioSource(path, lost=self.lost if partial else None))
            self.audio.name = item.place
            self._stack = stack.pop_all()
        self._blocks = self.audio.blocks()
        self._held = np.zeros((self.audio.info.channels, 0), np.float32)
        self.position = 0  # of the first sample that is still here

    def span(self, first: int, stop: int | None) -> Iterator[np.ndarray]:
        """Yield the samples [first, stop) in blocks [C, n]; None: to the end. Raises AudioError if the recording is shorter."""
        while True:
            begin, end = max(first - self.position, 0), self._held.shape[1]
            end = end if stop is None else min(end, stop - self.position)
            if begin < end:
                yield self._held[:, begin:end]
            if stop is not None and self.position + self._held.shape[1] >= stop:
                return
            self.position += self._held.shape[1]
            self._held = next(self._blocks, self._held[:, :0])
            if self._held.shape[1] == 0:
                break
        if stop is not None or self.position <= first:
            rate = self.audio.info.sample_rate
            wanted = f"a section from {first / rate:.3f} s" + ("" if stop is None else f" to {stop / rate:.3f} s")
            raise AudioError(f"{self.audio.name}: ends at {self.position / rate:.3f} s, but {wanted} was requested")

    def rewind(self) -> None:
        """Go back to the start of the recording: open it again."""
        self.lost = []
        again = self.audio.again(self.lost)
        assert again is not None  # because every recording is a file here
        self._stack.enter_context(again)
        self.audio.close()
        self.audio, self.position, self._blocks = again, 0, again.blocks()
        self._held = self._held[:, :0]

    def close(self) -> None:
        """Close the recording."""
        self._stack.close()


class Section:
    """A part of a recording, with the interface of an AudioSource."""

    def __init__(self, playback: Playback, item: Item) -> None:
        info = playback.audio.info
        self._playback, self.name, self._channel = playback, item.source, item.channel
        self.first = round(item.start * info.sample_rate)
        self._stop = None if item.seconds is None else self.first + round(item.seconds * info.sample_rate)
        if item.channel is not None and item.channel >= info.channels:
            raise AudioError(f"{item.source}: has {info.channels} channels; there is no channel {item.channel}")
        self.info = info if item.channel is None else AudioInfo(info.sample_rate, 1, info.n_samples, is_lossy=info.is_lossy)
        self._held: list[np.ndarray] | None = None  # of a preview

    def tags(self) -> list[tuple[str, str]]:
        """Return no tags: those of the file are about all of it."""
        return []

    def blocks(self, n_samples: int | Callable[[], int] | None = None) -> Iterator[np.ndarray]:
        """Yield float32 blocks [C, n]. Raises AudioError for damage in the section, and if the recording is shorter."""
        return self._read() if self._held is None else iter(self._held)

    def preview(self) -> Iterator[np.ndarray]:
        """Yield all blocks, which `blocks` then yields again: from memory, or of a long section from the recording."""
        held: list[np.ndarray] = []
        n_bytes = 0
        for block in self._read():
            n_bytes += block.nbytes
            if n_bytes <= MAX_HELD:
                held.append(block)
            else:
                held.clear()
            yield block
        if n_bytes <= MAX_HELD:
            self._held = held
        else:
            self._playback.rewind()

    def _read(self) -> Iterator[np.ndarray]:
        for block in self._playback.span(self.first, self._stop):
            yield block if self._channel is None else block[self._channel : self._channel + 1]


class Opener:
    """Opens items. A recording stays open for the next section of it."""

    def __init__(self) -> None:
        self._playback: Playback | None = None

    @contextlib.contextmanager
    def open(self, item: Item, lost: list[str] | None = None) -> Iterator[AudioSource | Section]:
        """Open an item's audio. Messages of its errors name the item, not the temporary file that may hold its bytes.

        If `lost` is a list, damage is not an error: a line about what the item lacks is there when its audio has been read.
        A section lacks what its recording lost before the section's end, because later sound moves forward by as much.
        """
        if not item.start and item.seconds is None and item.channel is None:
            with local_file(item) as path, named(path, item), AudioSource(path, lost=lost) as audio:
                audio.name = item.source
                yield audio
            return
        try:
            yield self._section(item, lost is not None)
            if lost is not None and self._playback is not None:
                lost += self._playback.lost
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open."""
        if self._playback is not None:
            self._playback.close()
        self._playback = None

    def _section(self, item: Item, partial: bool) -> Section:
        if self._playback is not None and self._playback.place == (item.place, item.part):
            section = Section(self._playback, item)
            if section.first >= self._playback.position:
                return section
        self.close()
        self._playback = Playback(item, partial)
        return Section(self._playback, item)


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
        name = path_name(item.place)
        if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
            raise AudioError(f"{item.source}: is a pipe or a device, which can be read once or never ends")
        yield f"./{name}" if name == "-" else name
        return
    with tempfile.TemporaryDirectory(prefix="ecdc-") as folder:
        path = Path(folder) / "audio"
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
        except (CorpusError, AudioError):
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
    if kind == "lost":
        raise AudioError(f"{item.source}: {where[0]}")
    if kind == "row":
        from .sources.tables import cell_bytes

        return cell_bytes(item.place, *where)
    return read_span(item.place, *where)


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
