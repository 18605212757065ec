"""Blocks for pipes: audio is encoded as it arrives, and codes are decoded as soon as their chunk is complete.

Files are coded in long blocks, which is fastest. A listener at the end of a pipe should wait for
little more than one chunk. So blocks of a pipe end at the borders of chunks, and a long chunk is
encoded while it arrives.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import time
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import ceil

import numpy as np

from ..format import Chunk, Entropy, Header
from ..format.bytestream import Source
from ..format.chunk import decode_codes, encode_codes, read_envelope
from ..format.entropy.installed_priors import load_prior
from ..format.entropy.prior import load_kernels
from .protocols import Model

LIVE_SECONDS = 0.3  # of audio that are encoded at once while a chunk arrives
TAIL_SHARE = 6  # the last block of a chunk is this many times shorter, because the listener waits for it
FIRST_SECONDS = 0.25  # of a chunk that are decoded first, to be played while the rest is decoded
MIN_READ_SECONDS, MAX_READ_SECONDS = 0.005, 1.0
MEMORY = 0.9  # weight of earlier blocks relative to the last one
PROBE_FRAMES, PROBE_PARTS = 64, 8

_ahead: weakref.WeakKeyDictionary[Model, int] = weakref.WeakKeyDictionary()


def is_pipe(source: str | os.PathLike[str]) -> bool:
    """Return True if `source` is read as it arrives: standard input ('-') or a path that is not a regular file."""
    if str(source) == "-":
        return sys.stdin is not None and not sys.stdin.buffer.seekable()
    try:
        return not stat.S_ISREG(os.stat(source).st_mode)
    except OSError:
        return False


class Pace:
    """Decides where the next block of a signal ends.

    `chunk_frames` is the length of a chunk, and `ahead` the number of samples after the end of a
    frame that the encoder needs. With `any_blocks` the codes do not depend on how the signal is cut,
    so blocks adapt to the source: short while waiting takes longer than coding, shorter still at
    the end of a chunk, and otherwise up to `most_frames`. Without it, blocks depend on the lengths alone.
    """
    def __init__(
        self, hop_length: int, chunk_frames: int, most_frames: int, few_frames: int, ahead: int, any_blocks: bool
    ) -> None:
        self._hop, self._chunk, self._ahead, self._any_blocks = hop_length, chunk_frames, ahead, any_blocks
        self._most, self._few = most_frames, min(few_frames, most_frames)
        self._step = self._few if any_blocks else most_frames
        self._is_slow = True
        self._waited = self._worked = 0.0  # seconds, over the last blocks
        self._frames = self._stop = 0
        self.n_missing = 0  # samples at the codec's rate that the block still needs
        self._next()

    def _next(self) -> None:
        stop = self._frames + self._step
        if self._is_slow or not self._any_blocks:
            end = (self._frames // self._chunk + 1) * self._chunk
            tail = max(1, self._few // TAIL_SHARE) if self._any_blocks else 0
            stop = min(stop, end - tail if end - self._frames > 2 * tail else end)
        self._frames = stop
        before, self._stop = self._stop, stop * self._hop + self._ahead
        self.n_missing += self._stop - before

    def advance(self, waited: float, worked: float) -> None:
        """Go on to the next block. The last one arrived after `waited` seconds and was coded in `worked` seconds.

        Several blocks are averaged, because after a pause of the machine some arrive without waiting.
        """
        if self._any_blocks:
            self._waited = MEMORY * self._waited + waited
            self._worked = MEMORY * self._worked + worked
            self._is_slow = self._waited > self._worked
            self._step = self._few if self._is_slow else min(2 * self._step, self._most)
        self._next()

    def n_wanted(self, from_rate: int, codec_rate: int) -> int:
        """Return how many samples at `from_rate` (Hz) to read next."""
        least, most = (max(1, round(seconds * from_rate)) for seconds in (MIN_READ_SECONDS, MAX_READ_SECONDS))
        return min(max(ceil(self.n_missing * from_rate / codec_rate), least), most)


def pace_for(codec: Model, chunk_frames: int, most_frames: int, from_pipe: bool) -> Pace | None:
    """Return the pace of a signal, or None for plain blocks of `most_frames`: a file whose codes do not depend on blocks."""
    config = codec.config
    any_blocks = config.exact_dtype == "float64"
    if any_blocks and not from_pipe:
        return None
    few = ceil(LIVE_SECONDS * config.frame_rate)
    return Pace(config.hop_length, chunk_frames, most_frames, few, encoder_ahead(codec), any_blocks)


def paced_blocks(blocks: Iterable[np.ndarray], pace: Pace) -> Iterator[tuple[np.ndarray, bool]]:
    """Regroup blocks [..., n] as `pace` decides. Yields each with True if it is the last, which may be empty.

    No blocks in, no blocks out.
    """
    held: list[np.ndarray] = []
    since = time.monotonic()
    for block in blocks:
        held.append(block)
        pace.n_missing -= block.shape[-1]
        while pace.n_missing <= 0:
            joined = np.concatenate(held, axis=-1)
            size = joined.shape[-1] + pace.n_missing
            held, came = [joined[..., size:]], time.monotonic()
            yield joined[..., :size], False
            done = time.monotonic()
            pace.advance(came - since, done - came)
            since = done
    if held:
        yield np.concatenate(held, axis=-1), True


Coded = tuple[tuple[int, ...], np.ndarray, bool]  # K of each stream, codes [R, t], True if it is the last


def coded_blocks(chunks: Iterable[Chunk], frame_rate: float, most_frames: int, join: bool) -> Iterator[Coded]:
    """Cut chunks into the blocks that are decoded at once; the last block is empty.

    A long chunk starts with a short block, which is played while the rest is decoded. Without `join`, `chunks` are the
    parts that Reader.parts(first_frames(frame_rate)) gives, each decoded as it arrives. With `join` they are complete, and
    several chunks shorter than a second are decoded together, which is faster. Longer chunks give the same blocks either
    way, and so exactly the same audio.
    """
    codebooks: tuple[int, ...] = ()
    for codebooks, codes, is_whole in _joined(chunks, frame_rate, most_frames if join else 0):
        first = first_frames(frame_rate) if join else most_frames
        stops = [0, *range(first if is_whole and codes.shape[1] >= 2 * first else most_frames, codes.shape[1], most_frames)]
        for start, stop in pairwise([*stops, codes.shape[1]]):
            yield codebooks, codes[:, start:stop], False
    if codebooks:
        yield codebooks, np.zeros((sum(codebooks), 0), np.uint16), True


def first_frames(frame_rate: float) -> int:
    """Return how many frames of a long chunk are decoded first."""
    return ceil(FIRST_SECONDS * frame_rate)


def _joined(chunks: Iterable[Chunk], frame_rate: float, most_frames: int) -> Iterator[tuple[tuple[int, ...], np.ndarray, bool]]:
    """Join short chunks of equal K to at most `most_frames`. Yields K, codes, and True if they are one complete chunk."""
    held: list[Chunk] = []
    for chunk in chunks:
        is_short = chunk.n_frames < min(frame_rate, most_frames)
        n_frames = sum(c.n_frames for c in held) + chunk.n_frames
        if held and not (is_short and n_frames <= most_frames and chunk.n_codebooks == held[0].n_codebooks):
            yield held[0].n_codebooks, np.concatenate([c.codes for c in held], axis=1), False
            held = []
        if is_short:
            held.append(chunk)
        else:
            yield chunk.n_codebooks, chunk.codes, True
    if held:
        yield held[0].n_codebooks, np.concatenate([c.codes for c in held], axis=1), False


def encoder_ahead(codec: Model) -> int:
    """Return how many samples after its end a frame needs, to an eighth of a frame. Measured on silence."""
    if codec not in _ahead:
        _ahead[codec] = _probe(codec)
    return _ahead[codec]


def _probe(codec: Model) -> int:
    hop = codec.config.hop_length
    part = -(-hop // PROBE_PARTS)
    with codec.streaming() as stream:
        n_fed = PROBE_FRAMES * hop
        silence = np.zeros((1, codec.config.channels, n_fed), np.float32)
        n_frames = stream.encode(silence, n_codebooks=1).shape[2]
        for _ in range(PROBE_FRAMES * PROBE_PARTS):
            n_fed += part
            found = stream.encode(silence[..., :part], n_codebooks=1).shape[2]
            if found:
                return max(0, n_fed - (n_frames + found) * hop)
    return 0


def warm_up(codec: Model, header: Header, n_codebooks: tuple[int, ...], chunk_frames: int | None) -> None:
    """Run everything once on silence, so that the first chunk does not wait for libraries to load.

    `n_codebooks` is the K of each stream. `chunk_frames` is the length of a chunk for encoding, and None for decoding.
    """
    data = encode_codes(Chunk(0, np.zeros((sum(n_codebooks), 2), np.uint16), n_codebooks), header, 0)
    if chunk_frames is not None:
        n_samples = min(chunk_frames, ceil(LIVE_SECONDS * codec.config.frame_rate)) * codec.config.hop_length
        silence = np.zeros((len(n_codebooks), codec.config.channels, n_samples), np.float32)
        with codec.streaming(batch_size=len(n_codebooks)) as stream:
            for _ in range(3):
                stream.encode(silence, n_codebooks=max(n_codebooks))
        return
    decode_codes(read_envelope(Source(io.BytesIO(data))), header)
    if header.entropy is Entropy.PRIOR:  # so few codes may have been written without the prior
        load_kernels()  # now, because a stream that goes on for long needs them
        prior = load_prior(header)
        silent = [np.zeros((k, 2), np.uint16) for k in n_codebooks]
        prior.decode(prior.encode(silent), n_codebooks, 2)
    codes = np.zeros((1, max(n_codebooks), ceil(FIRST_SECONDS * codec.config.frame_rate)), np.int64)
    with codec.streaming() as stream:
        for size in (1, 4, 4):
            stream.decode(codes[..., : codes.shape[2] // size])
