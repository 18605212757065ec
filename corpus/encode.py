"""Audio of items to tokens: short recordings of similar length together, long ones block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.channel_layout import Layout, codebooks_per_stream
from ..codec.config import HybridConfig, SplitConfig
from ..codec.encoding import encode_blocks, header_for
from ..codec.full_scale import Overs
from ..codec.pipeline_parts import to_array
from ..codec.prepare import Prepared
from ..codec.protocols import Model
from ..codec.stereo_choice import layout_of
from ..format import Header
from ..format.errors import EcdcError
from ..format.timing import frames_for
from ..format.token_files import Tokens
from .audio import Opener
from .errors import is_fatal, one_line
from .items import Item
from .settings import CHANNELS, Settings

LONG_SECONDS = 60.0  # longer recordings are coded block by block
WASTE = 1.1  # most computed samples per sample of a batch
POOL = 4  # batches' worth of audio that is held, so that lengths in a batch are similar


@dataclass
class Sound:
    """A short recording that is decoded and waits for its batch."""

    index: int
    wav: NDArray[np.float32]  # [C, N]
    header: Header
    layout: Layout
    codebooks: tuple[int, ...]
    n_original: int


@dataclass
class Failure:
    """Why an item has no tokens."""

    reason: str


Result = Tokens | Failure
Tell = Callable[[int, float], None]  # receives the number of an item and its seconds when it is read


class Encoder:
    """Turns items into tokens. The tokens of an item do not depend on the items around it."""

    def __init__(self, codec: Model, settings: Settings, batch_seconds: float = 20.0) -> None:
        self.codec, self.settings, self.batch_seconds = codec, settings, batch_seconds
        self.overs: dict[int, Overs] = {}  # of the last call's items with samples beyond full scale
        self.damage: dict[int, str] = {}  # of the last call's items that were encoded in part
        self._opener = Opener()
        # Silence after the end of a signal changes none of its tokens, and float64 makes them independent of the batch.
        exact = codec.config.exact_dtype == "float64"
        self.can_batch = exact and isinstance(codec.config.architecture, HybridConfig | SplitConfig)

    def __call__(self, items: Sequence[Item], begin: Callable[[int], None], tell: Tell) -> Iterator[tuple[int, Result]]:
        """Yield (index, tokens or failure) for every item, in any order. `begin` is called before an item is read."""
        pool: list[Sound] = []
        seconds = 0.0
        self.overs, self.damage = {}, {}
        for i, item in enumerate(items):
            begin(i)
            found = self._read(i, item)
            if isinstance(found, Sound):
                pool.append(found)
                seconds += found.wav.shape[1] / self.codec.sample_rate
                tell(i, found.wav.shape[1] / self.codec.sample_rate)
                if seconds >= POOL * self.batch_seconds:
                    yield from self._encode_pool(pool)
                    pool, seconds = [], 0.0
            else:
                tell(i, 0.0 if isinstance(found, Failure) else (found.n_samples or 0) / self.codec.sample_rate)
                yield i, found
        yield from self._encode_pool(pool)

    def _read(self, i: int, item: Item) -> Sound | Result:
        """Read an item; a long one is encoded at once. Errors become a failure, unless they concern the machine."""
        lost: list[str] | None = [] if self.settings.partial else None
        try:
            with self._opener.open(item, lost) as audio:
                found = self._prepare(i, audio)
            if lost:
                self.damage[i] = "; ".join(lost)
            return found
        except (EcdcError, OSError) as error:
            if is_fatal(error):
                raise
            return Failure(one_line(error).removeprefix(f"{item.source}: ").removeprefix(f"{item.place}: "))
        except MemoryError:
            raise
        except Exception as error:
            return Failure(f"{type(error).__name__}: {one_line(error)} (a fault in ecdc)")

    def _prepare(self, i: int, audio: Any) -> Sound | Tokens:
        codec, config = self.codec, self.codec.config
        layout = layout_of(audio, config, CHANNELS[self.settings.channels], self.settings.stereo)
        codebooks = codebooks_per_stream(config, layout, self.settings.kbps)
        header = header_for(codec, layout, audio, tuple(audio.tags()), self.settings.entropy)
        prepared = Prepared(audio, layout.channels, codec.sample_rate, lambda seconds: None)
        blocks = iter(prepared)
        held: list[NDArray[np.float32]] = []
        most = LONG_SECONDS * codec.sample_rate if self.can_batch else 0
        while sum(block.shape[1] for block in held) <= most:
            block = next(blocks, None)
            if block is None:
                self._note_overs(i, prepared.overs, audio)
                return Sound(i, np.concatenate(held, axis=1), header, layout, codebooks, prepared.n_original)
            held.append(block)
        codes, segments = self._stream(chain(held, blocks), layout, codebooks)
        self._note_overs(i, prepared.overs, audio)
        return Tokens(header, codes, codebooks, prepared.n_samples, prepared.n_original, segments)

    def _note_overs(self, i: int, overs: Overs, audio: Any) -> None:
        if overs.is_notable(audio.info.is_lossy):
            self.overs[i] = overs

    def _stream(
        self, blocks: Iterator[NDArray[np.float32]], layout: Layout, codebooks: tuple[int, ...]
    ) -> tuple[NDArray[np.uint16], tuple[tuple[int, float | None], ...]]:
        """Encode blocks [C, n] as `ecdc encode` does; returns codes [R, T], and the segments of codecs that have them."""
        if not self.codec.config.segment_length:
            parts = list(encode_blocks(self.codec, blocks, layout, codebooks, effort=self.settings.effort))
            return np.concatenate(parts, axis=1), ()
        segmented: Any = self.codec
        wavs = (layout.split(block, self.codec.config.channels) for block in blocks)
        parts, segments = [], []
        for segment in segmented.encode_segment_blocks(wavs, n_codebooks=codebooks[0]):
            parts.append(to_array(segment.codes[0]).astype(np.uint16))
            segments.append((parts[-1].shape[1], None if segment.scale is None else float(segment.scale[0, 0])))
        return np.concatenate(parts, axis=1), tuple(segments)

    def _encode_pool(self, pool: list[Sound]) -> Iterator[tuple[int, Tokens]]:
        """Encode sounds in batches of similar length."""
        batch: list[Sound] = []
        for sound in sorted(pool, key=lambda s: (s.layout.n_streams, s.wav.shape[1])):
            longer = [*batch, sound]
            padded = len(longer) * sound.wav.shape[1]
            is_alike = not batch or self._fits(batch[0], sound)
            is_full = padded > self.batch_seconds * self.codec.sample_rate
            if batch and (not is_alike or is_full or padded > WASTE * sum(s.wav.shape[1] for s in longer)):
                yield from self._encode_batch(batch)
                longer = [sound]
            batch = longer
        yield from self._encode_batch(batch)

    def _fits(self, one: Sound, other: Sound) -> bool:
        """Return True if two sounds can share a batch. With effort, all streams need the same number of codebooks."""
        is_free = not self.settings.effort or (one.codebooks == other.codebooks and len(set(one.codebooks)) == 1)
        return one.layout.n_streams == other.layout.n_streams and is_free

    def _encode_batch(self, batch: list[Sound]) -> Iterator[tuple[int, Tokens]]:
        if not batch:
            return
        config, effort = self.codec.config, self.settings.effort
        if effort and len(set(batch[0].codebooks)) > 1:
            (sound,) = batch
            rows = self._stream(iter([sound.wav]), sound.layout, sound.codebooks)[0]
            yield sound.index, Tokens(sound.header, rows, sound.codebooks, sound.wav.shape[1], sound.n_original)
            return
        n_streams, length = batch[0].layout.n_streams, max(sound.wav.shape[1] for sound in batch)
        wav = np.zeros((len(batch) * n_streams, config.channels, length), np.float32)
        for i, sound in enumerate(batch):
            signals = sound.layout.split(sound.wav, config.channels)
            wav[i * n_streams : (i + 1) * n_streams, :, : signals.shape[-1]] = signals
        with self.codec.streaming(batch_size=len(wav)) as stream:
            most = max(max(sound.codebooks) for sound in batch)
            codes = to_array(stream.encode(wav, n_codebooks=most, last=True, effort=effort)).astype(np.uint16)
        for i, sound in enumerate(batch):
            n_frames = frames_for(sound.wav.shape[1], config.hop_length)
            own = codes[i * n_streams : (i + 1) * n_streams, :, :n_frames]
            rows = np.concatenate([stream[:k] for stream, k in zip(own, sound.codebooks, strict=True)])
            yield sound.index, Tokens(sound.header, rows, sound.codebooks, sound.wav.shape[1], sound.n_original)
