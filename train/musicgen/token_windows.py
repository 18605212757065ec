"""Windows of tokenized pieces with captions and melodies. What a step sees depends only on (seed, step)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...codec.config import Strict, check_bounds
from ...plugins.musicgen.beats import beat_phases, tempo_of
from ...plugins.musicgen.chroma import frame_classes
from ...plugins.musicgen.config import MusicGenConfig
from ...plugins.musicgen.text_encoder import TextEncoder
from ..data.packed_audio import EmptyData

NO_MELODY = 255  # in melody.npy, for frames in which no melody sounds
Caption = Callable[[Mapping[str, Any], random.Random], str]  # from the labels of a piece to a description in words


@dataclass(frozen=True, slots=True)
class WindowRecipe(Strict):
    """The contents of a batch."""

    batch_size: int = 8  # windows, over all processes
    seconds: float = 10.0  # per window
    from_start: float = 0.5  # share of the windows that start at the beginning of their piece
    stereo: float = 0.5  # share of the stereo windows
    without_text: float = 0.15  # shares of the windows that lose a condition
    without_melody: float = 0.5
    without_both: float = 0.05
    beats: float = 0.25  # share of windows whose text has no tempo that receive beats nevertheless
    forgetful: float = 0.0  # share of windows with some frames hidden, so that the model has to use the conditions

    def __post_init__(self) -> None:
        shares = ("from_start", "stereo", "without_text", "without_melody", "without_both", "beats", "forgetful")
        check_bounds(self, {"batch_size": (1, 1 << 16), "seconds": (1e-3, 3600), **dict.fromkeys(shares, (0, 1))})


@dataclass(frozen=True, slots=True)
class Batch:
    """B windows."""

    codes: Tensor  # int64 [B, K, T], channels alternate; mono pieces have the special token in the right channel
    heard: Tensor  # bool [B, T], False for frames that are predicted but hidden from the input
    is_stereo: Tensor  # bool [B]
    melody: Tensor  # int64 [B, T], the pitch class of each frame, -1 for none
    beats: Tensor  # int64 [B, T], position of each frame in its beat, -1 for an unknown tempo
    texts: Tensor  # float32 [B, P, E], zeros after the text
    text_lengths: Tensor  # int64 [B], 0 for no text

    def select(self, choose: Callable[[Tensor], Tensor]) -> Batch:
        """Apply a selection to every tensor."""
        return Batch(**{field.name: choose(getattr(self, field.name)) for field in fields(self)})

    def rows(self, start: int, stop: int) -> Batch:
        """Return the batch items `start` to `stop`."""
        return self.select(lambda x: x[start:stop])

    def without_conditions(self) -> Batch:
        """Return the same codes without text and melody."""
        nothing = torch.zeros_like
        silence, texts, lengths = torch.full_like(self.melody, -1), nothing(self.texts), nothing(self.text_lengths)
        return replace(self, melody=silence, beats=silence, texts=texts, text_lengths=lengths)


@dataclass(frozen=True)
class Pieces:
    """The pieces of one split of a folder, checked by `open`."""

    codes: np.ndarray  # uint16 [n, 2, 4, T]
    channels: np.ndarray  # uint8 [n], 1 or 2
    melody: np.ndarray  # uint8 [n, F]: pitch classes, NO_MELODY if there is none
    labels: tuple[Mapping[str, Any], ...]  # n
    own: np.ndarray  # int [m]: the pieces of this split
    config: MusicGenConfig
    encoder: TextEncoder
    caption: Caption

    @classmethod
    def open(
        cls, folder: Path, split: str, config: MusicGenConfig, encoder: TextEncoder, caption: Caption, n_frames: int
    ) -> Pieces:
        """Open a split. Raises EmptyData, in one line, for files that are missing or do not fit each other or the model."""
        per_channel = config.n_codebooks // config.channels
        codes = _array(folder / "codes.npy", np.uint16, (None, 2, per_channel, None))
        n = len(codes)
        channels, melody = _array(folder / "channels.npy", np.uint8, (n,)), _array(folder / "melody.npy", np.uint8, (n, None))
        if codes.shape[3] < n_frames:
            raise EmptyData(f"{folder / 'codes.npy'}: pieces of {codes.shape[3]} frames are shorter than windows of {n_frames}")
        if melody.shape[1] != 1 + codes.shape[3] * config.sample_rate // config.frame_rate // config.chroma_hop:
            raise EmptyData(
                f"{folder / 'melody.npy'}: {melody.shape[1]} chroma frames are not those of {codes.shape[3]} frames"
            )
        if not np.isin(channels, (1, 2)).all():
            raise EmptyData(f"{folder / 'channels.npy'}: must hold 1 and 2 only")
        if int((melody[melody != NO_MELODY]).max(initial=0)) >= config.n_chroma:
            raise EmptyData(f"{folder / 'melody.npy'}: must hold pitch classes below {config.n_chroma}, and {NO_MELODY}")
        rows = _rows(folder / "pieces.jsonl", n)
        own = np.flatnonzero([row["split"] == split for row in rows])
        if not len(own):
            raise EmptyData(f"{folder}: no pieces for the {split} split")
        return cls(codes, channels, melody, tuple(row["labels"] for row in rows), own, config, encoder, caption)

    def batch(self, recipe: WindowRecipe, rng: np.random.Generator) -> Batch:
        """Draw windows at random, with the stereo ones evenly distributed, and some without conditions.

        Each channel of a stereo piece also serves as mono music.
        """
        count = np.floor(np.arange(recipe.batch_size + 1) * recipe.stereo + 1e-9)
        n_frames, windows = self.config.n_frames(recipe.seconds), []
        for is_stereo in np.diff(count) > 0:
            kind = self.own[self.channels[self.own] == 2] if is_stereo else self.own
            piece, side = int(rng.choice(kind if len(kind) else self.own)), None if is_stereo else int(rng.integers(2))
            start = 0 if rng.random() < recipe.from_start else int(rng.integers(self.codes.shape[3] - n_frames + 1))
            text = self.caption(self.labels[piece], random.Random(int(rng.integers(2**63))))
            no_text, no_melody, no_both = rng.random(3) < (recipe.without_text, recipe.without_melody, recipe.without_both)
            forgotten = 2 * rng.random() * (rng.random() < recipe.forgetful)  # half of these windows hide all frames
            heard = rng.random(n_frames) >= forgotten
            told, has_melody = None if no_text or no_both else text, not (no_melody or no_both)
            bpm = tempo_of(told)
            if bpm is None and not no_both and rng.random() < recipe.beats:
                bpm = self.labels[piece].get("tempo_bpm")
            window = self.window(piece, start, n_frames, told, has_melody, bpm, side)
            windows.append(replace(window, heard=torch.from_numpy(heard)[None]))
        return concatenate_batches(windows)

    def examples(self, n_most: int, n_frames: int) -> Batch:
        """Return the beginnings of up to `n_most` evenly chosen pieces with all conditions; the same on every call."""
        chosen = self.own[np.linspace(0, len(self.own) - 1, min(n_most, len(self.own))).astype(int)]
        rng = random.Random(0)
        texts = [self.caption(self.labels[i], rng) for i in chosen]
        pairs = zip(chosen, texts, strict=True)
        return concatenate_batches([self.window(int(i), 0, n_frames, text, True, tempo_of(text)) for i, text in pairs])

    def window(
        self, piece: int, start: int, n_frames: int, text: str | None, has_melody: bool, bpm: float | None,
        side: int | None = None,
    ) -> Batch:  # fmt: skip
        """Return one window as a batch of one. For a stereo piece: both channels, or the left (0) or right (1) as mono."""
        c, is_stereo = self.config, bool(self.channels[piece] == 2)
        codes = torch.from_numpy(self.codes[piece, :, :, start : start + n_frames].astype(np.int64))
        if int(codes.max()) >= c.codebook_size:
            raise EmptyData(f"codes must lie below {c.codebook_size}, got {int(codes.max())} in piece {piece}")
        if is_stereo and side is not None:
            codes[0], is_stereo = codes[side].clone(), False
        if not is_stereo:
            codes[1] = c.special
        melody = torch.full((n_frames,), -1)
        if has_melody:
            classes = self.melody[piece].astype(np.int64)
            classes = torch.from_numpy(np.where(classes == NO_MELODY, -1, classes))
            hop = c.chroma_hop * c.frame_rate / c.sample_rate
            melody = frame_classes(classes, start, n_frames, hop, float("inf"))
        texts, length = torch.zeros(1, c.text_tokens, c.text_dimension), 0
        if text is not None:
            hidden = self.encoder(text)[: c.text_tokens]
            length = len(hidden)
            texts[0, :length] = hidden
        rows = codes.transpose(0, 1).flatten(0, 1)[None]
        heard = torch.ones(1, n_frames, dtype=torch.bool)
        beats = beat_phases(bpm or None, start, n_frames, c.frame_rate, c.n_beats)
        return Batch(rows, heard, torch.tensor([is_stereo]), melody[None], beats[None], texts, torch.tensor([length]))


def concatenate_batches(batches: list[Batch]) -> Batch:
    """Concatenate batches."""
    return Batch(**{field.name: torch.cat([getattr(batch, field.name) for batch in batches]) for field in fields(Batch)})


def _array(path: Path, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """Open an array in a file without reading it yet; None in `shape` matches any number but 0."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise EmptyData(f"{path}: {(str(error).splitlines() or ['unreadable'])[0]}") from error
    fits = len(shape) == found.ndim and all(
        have and want in (None, have) for have, want in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype != dtype:
        wanted = str(list(shape)).replace("None", "any")
        raise EmptyData(f"{path}: must be {np.dtype(dtype)} {wanted}, got {found.dtype} {list(found.shape)}")
    return found  # type: ignore[no-any-return]


def _rows(path: Path, n: int) -> list[dict[str, Any]]:
    """Return the descriptions of n pieces."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise EmptyData(f"{path}: {(str(error).splitlines() or ['unreadable'])[0]}") from error
    if len(rows) != n:
        raise EmptyData(f"{path}: describes {len(rows)} pieces, codes.npy holds {n}")
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("labels"), dict) or row.get("split") not in ("train", "valid"):
            raise EmptyData(f"{path}: line {i + 1} must have labels and a split, train or valid")
    return rows
