"""Turn prompts and melodies into inputs of the language model, for every branch of guidance.

The texts of a batch have different lengths. `padding` says how the padding is treated:

- "masked" hides it: every item is generated as it would be alone. The default.
- "attended" does what the original does: zero vectors at padding take part in attention, texts
  in front of the tokens shift the tokens, and melodies end in silence. So an item depends on
  the longest item of its batch.

A single item gives the same result with both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...format.errors import ArgumentError
from .beats import beat_phases, tempo_of
from .chroma import chroma, fitted, frame_classes, melody_classes, null_chroma
from .lm import Conditions, MusicGenLM
from .text_encoder import TextEncoder

PADDINGS = ("masked", "attended")


@dataclass(frozen=True, slots=True)
class Row:
    """The conditions of one batch item, at the model's width."""

    text: Tensor | None  # [L, D]; zeros if there is no text
    melody: Tensor | None  # [F, D], or [n, D] to be added to n columns; there, None means no melody
    summary: Tensor | None = None  # [D], of the text
    beats: Tensor | None = None  # [n, D] to be added to n columns, from the tempo in the text


class Conditioner:
    """Embeds the conditions of B items once, and arranges them for batches."""

    def __init__(
        self,
        lm: MusicGenLM,
        encoder: TextEncoder | None,
        prompts: Sequence[str | None],
        melodies: Sequence[Tensor | None],
        padding: str = "masked",
        start: int = 0,
    ) -> None:
        """Embed all conditions. `start` is the first frame of melodies and beats that are added to columns.

        Raises ValueError for conditions that the model does not support.
        """
        if padding not in PADDINGS:
            raise ArgumentError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
        if any(prompts) and (lm.text is None or encoder is None):
            raise ArgumentError(f"{lm.config.name} has no text encoder here: prompts cannot be used")
        if any(melody is not None for melody in melodies) and lm.melody is None:
            raise ArgumentError(f"{lm.config.name} takes no melodies")
        self._lm, self._padding = lm, padding
        self.is_null = not any(prompts) and all(melody is None for melody in melodies)
        self._texts, self._summaries = _embed_texts(lm, encoder, prompts)
        self._beats = [_added_beats(lm, prompt, start) for prompt in prompts]
        if lm.config.melody_fusion == "sum":
            self._melodies, self._silence = [_added_melody(lm, wav, start) for wav in melodies], None
            return
        self._melodies = [_embed_melody(lm, wav) for wav in (melodies if lm.style else _aligned(melodies, padding))]
        self._silence = _embed_melody(lm, None)

    @property
    def full(self) -> list[Row]:
        """Batch items with every condition."""
        columns = self._texts, self._melodies, self._summaries, self._beats
        return [Row(*parts) for parts in zip(*columns, strict=True)]

    @property
    def melody_only(self) -> list[Row]:
        """The same batch items without their texts."""
        return [Row(_blank(text), melody) for text, melody in zip(self._texts, self._melodies, strict=True)]

    def null(self, alone: bool = False) -> list[Row]:
        """Return batch items without conditions.

        The empty text is as long as the text it replaces, because both are padded together; with
        `alone` it is one end token. The same holds for an absent style. An absent melody is silence,
        which has a pitch class.
        """
        length, silence = ((self._lm.config.text_tokens or 1) if alone else None), self._silence
        if self._lm.style is None:
            return [Row(_blank(text, length), silence) for text in self._texts]
        pairs = zip(self._texts, self._melodies, strict=True)
        return [Row(_blank(text, length), _blank(style, length)) for text, style in pairs]

    def lay_out(self, rows: Iterable[Row]) -> Conditions:
        """Stack batch items into tensors, padded as `padding` says."""
        texts, melodies = _column(rows := list(rows), "text"), _column(rows, "melody")
        summary = _stacked([row.summary for row in rows])
        masked = self._padding == "masked"
        if self._lm.config.cross_attention and texts:
            padded, missing = _padded(texts, left=False)
            mask = torch.arange(padded.shape[1]) < padded.shape[1] - missing[:, None]
            return Conditions(cross=padded, cross_mask=mask if masked and bool(missing.any()) else None)
        added = None
        if self._lm.config.melody_fusion == "sum":
            kinds = [_stacked([row.melody for row in rows]), _stacked([row.beats for row in rows])]
            given, melodies = [kind for kind in kinds if kind is not None], []
            added = sum(given[1:], given[0]) if given else None
        parts = [part for part in (melodies, texts) if part]  # the melody comes before the text
        if not parts:
            return Conditions(added=added, summary=summary)
        if not masked:
            whole = torch.cat([_padded(part, left=False)[0] for part in parts], dim=1)
            return Conditions(prefix=whole, added=added, summary=summary)
        joined, missing = _padded([torch.cat(own) for own in zip(*parts, strict=True)], left=True)
        gaps = missing if bool(missing.any()) else None
        return Conditions(prefix=joined, prefix_padding=gaps, added=added, summary=summary)


def _column(rows: Sequence[Row], name: str) -> list[Tensor]:
    """Return one condition of every batch item, or an empty list if the model does not have this condition."""
    return [value for row in rows if (value := getattr(row, name)) is not None]


def _padded(parts: Sequence[Tensor], left: bool) -> tuple[Tensor, Tensor]:
    """Pad parts [L, D] with zeros (before them if `left`, else after): [R, L, D], and the zeros of each [R]."""
    padded = torch.nn.utils.rnn.pad_sequence([p.flip(0) if left else p for p in parts], batch_first=True)
    missing = torch.tensor([padded.shape[1] - len(p) for p in parts])
    return padded.flip(1) if left else padded, missing


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Stack parts of one shape to [R, ...], with zeros for None; None if all parts are None."""
    like = next((part for part in parts if part is not None), None)
    return None if like is None else torch.stack([torch.zeros_like(like) if part is None else part for part in parts])


def _blank(text: Tensor | None, length: int | None = None) -> Tensor | None:
    """Return the unconditional text input: zeros of the same shape, or of the given length."""
    return None if text is None else torch.zeros_like(text[:length])


@torch.no_grad()
def _embed_texts(
    lm: MusicGenLM, encoder: TextEncoder | None, prompts: Sequence[str | None]
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Return each prompt as [L, D], and its summary [D] if the model uses one; an absent prompt is an all-zero end token.

    Equal prompts are encoded once.
    """
    if lm.text is None:
        return [None] * len(prompts), [None] * len(prompts)
    known: dict[str, Tensor] = {}
    summaries: dict[str | None, Tensor] = {}
    n_tokens = lm.config.text_tokens
    for prompt in prompts:
        if prompt and prompt not in known:
            assert encoder is not None
            hidden = encoder(prompt)
            if hidden.dim() != 2 or hidden.shape[1] != lm.config.text_dimension:
                raise ArgumentError(f"the text encoder must give [L, {lm.config.text_dimension}], got {tuple(hidden.shape)}")
            hidden = hidden[: n_tokens or None].to(lm.text.weight.dtype)
            text = lm.text(hidden)
            if lm.summary is not None:
                summaries[prompt] = lm.summary(hidden.sum(dim=0))
            missing = max(0, n_tokens - len(text))
            known[prompt] = torch.nn.functional.pad(text, (0, 0, 0, missing))
    nothing = torch.zeros(n_tokens or 1, lm.config.dimension)
    return [known[prompt] if prompt else nothing for prompt in prompts], [summaries.get(prompt) for prompt in prompts]


@torch.no_grad()
def _embed_melody(lm: MusicGenLM, wav: Tensor | None) -> Tensor | None:
    """Embed a melody or style [N] to [F, D]. None gives silence or one zero vector; None for a model without melodies."""
    if lm.melody is None:
        return None
    if lm.style is not None:
        return torch.zeros(1, lm.config.dimension) if wav is None else lm.melody(lm.style.of_audio(wav, lm.config.sample_rate))
    c = lm.config
    frames = null_chroma(1, c.n_chroma) if wav is None else chroma(wav, c.sample_rate, c.n_chroma, c.chroma_window)
    return lm.melody(fitted(frames, c.chroma_frames))  # type: ignore[no-any-return]


@torch.no_grad()
def _added_melody(lm: MusicGenLM, wav: Tensor | None, start: int) -> Tensor | None:
    """Return a melody [N] as vectors [n, D] to add to the columns of a window; a shorter melody is repeated."""
    if wav is None:
        return None
    c = lm.config
    n_repeat = len(wav) / c.sample_rate * c.frame_rate
    wav = torch.nn.functional.pad(wav, (0, max(0, c.chroma_window - len(wav))))  # shorter audio would be centred in a window
    classes = melody_classes(wav, c.sample_rate, c.n_chroma, c.chroma_window)
    n_frames, hop = c.n_frames(c.max_seconds), c.chroma_hop * c.frame_rate / c.sample_rate
    return lm.embed_classes(frame_classes(classes, start, n_frames, hop, n_repeat))


@torch.no_grad()
def _added_beats(lm: MusicGenLM, prompt: str | None, start: int) -> Tensor | None:
    """Return the beats of a prompt's tempo as vectors [n, D] to add to the columns of a window; None if it names no tempo."""
    c, bpm = lm.config, tempo_of(prompt)
    if lm.beat is None or bpm is None:
        return None
    return lm.embed_beats(beat_phases(bpm, start, c.n_frames(c.max_seconds), c.frame_rate, c.n_beats))


def _aligned(melodies: Sequence[Tensor | None], padding: str) -> list[Tensor | None]:
    """Return melodies [N]; if padding matters, each is extended with silence to the longest."""
    if padding == "masked":
        return list(melodies)
    longest = max((len(wav) for wav in melodies if wav is not None), default=0)
    return [None if wav is None else torch.nn.functional.pad(wav, (0, longest - len(wav))) for wav in melodies]
