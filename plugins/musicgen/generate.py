"""Generate codes in windows of columns, and yield the frames that are complete."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...format.errors import ArgumentError
from .chroma import excerpt
from .conditioning import Conditioner
from .lm import Conditions, MusicGenLM
from .patterns import UNKNOWN
from .sampling import Guidance, Sampling
from .text_encoder import TextEncoder

ALONE = 512  # largest dimension of a model that runs on one thread


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a generation."""

    seconds: float = 30.0  # of the result, including a prompt of codes
    sampling: Sampling = field(default_factory=Sampling)
    guidance: Guidance = field(default_factory=Guidance)
    stride_seconds: float | None = None  # from one window to the next if one is not enough; None: the model's
    channels: int | None = None  # of the output; None: those of the prompt's codes, or one if the model makes mono
    padding: str = "masked"  # or "attended", as the original does; see conditioning.py

    def check(self, lm: MusicGenLM, n_prompt: int) -> int:
        """Return the number of frames T to generate; raises ValueError for impossible settings."""
        c = lm.config
        for name, value in (("seconds", self.seconds), ("stride_seconds", self.stride_seconds)):
            if value is not None and not 0 < value < math.inf:
                raise ArgumentError(f"{name} must be a finite number above 0, got {value}")
        n_frames, most = c.n_frames(self.seconds), c.n_frames(c.max_seconds)
        if n_frames < 1:
            raise ArgumentError(f"{self.seconds:g} s are less than a frame, which lasts {1 / c.frame_rate:.3f} s")
        if n_prompt >= n_frames:
            text = f"a prompt of {n_prompt / c.frame_rate:.2f} s leaves nothing to add"
            raise ArgumentError(f"{text}: {self.seconds:g} s are wanted, prompt included")
        if n_frames > most and not 0 < self.stride(lm) < most:
            stride = c.stride_seconds if self.stride_seconds is None else self.stride_seconds
            text = f"{self.seconds:g} s need several windows of {c.max_seconds:g} s"
            raise ArgumentError(f"{text}: stride_seconds must lie between 0 and {c.max_seconds:g}, got {stride:g}")
        return n_frames

    def stride(self, lm: MusicGenLM) -> int:
        """Return the frames from one window to the next."""
        return lm.config.n_frames(lm.config.stride_seconds if self.stride_seconds is None else self.stride_seconds)


@dataclass(frozen=True, slots=True)
class Request:
    """The conditions of B items."""

    prompts: Sequence[str | None]
    melodies: Sequence[Tensor | None]  # mono audio [N] each, at the model's sample rate
    seeds: Sequence[int]  # one per item: an item's random draws depend only on its seed

    def __post_init__(self) -> None:
        n = len(self.prompts)
        if n == 0 or len(self.melodies) != n or len(self.seeds) != n:
            raise ArgumentError(
                f"prompts, melodies and seeds must be as many, got {n}, {len(self.melodies)}, {len(self.seeds)}"
            )
        for wav in self.melodies:
            if wav is not None and (wav.dim() != 1 or len(wav) == 0):
                raise ArgumentError(f"a melody must be mono audio [N], got {tuple(wav.shape)}")


def stream_codes(
    lm: MusicGenLM, encoder: TextEncoder | None, request: Request, options: Options, prompt: Tensor | None = None
) -> Iterator[Tensor]:
    """Generate frames, yielding them as they are finished: blocks [B, K, t] after `prompt` [B, K, T_prompt] (not repeated).

    K is the number of codebooks of all channels that `options` and prompt select.

    Music longer than the model's `max_seconds` is made in windows. A window begins `stride_seconds` after the previous one, and
    continues what they share. A prompt that fills a window counts as earlier windows. Positions restart in each window; a
    melody is read at the window's position in the whole piece. The original computes the length of the last window in
    floating point, and may need one more window for a single frame. Here frames are counted.
    """
    n_items = len(request.prompts)
    known = _known(lm, n_items, options.channels, prompt)
    n_frames = options.check(lm, known.shape[2])
    window, stride = lm.config.n_frames(lm.config.max_seconds), options.stride(lm)
    generators = [torch.Generator().manual_seed(seed) for seed in request.seeds]

    def draw(logits: Tensor) -> Tensor:
        return options.sampling(logits, generators)

    too_many = known.shape[2] - window + 1
    start = -(-too_many // stride) * stride if too_many > 0 else 0
    known = known[:, :, start:]
    while start + known.shape[2] < n_frames:
        conditioner = _conditioner(lm, encoder, request, options, start if n_frames > window else None)
        blocks = [known]
        for block in window_codes(lm, known, min(n_frames - start, window), branches(conditioner, options), options, draw):
            blocks.append(block)
            yield block
        known, start = torch.cat(blocks, dim=2)[:, :, stride:], start + stride


def branches(conditioner: Conditioner, options: Options) -> list[tuple[int, Conditions]]:
    """Return the batches for each step: (number of branches, their conditions).

    If there are no conditions, or guidance has no effect, only the needed branch is computed: the
    mixture u + s * (c - u) is then u or c.
    """
    guidance = options.guidance
    if conditioner.is_null:
        return [(1, conditioner.lay_out(conditioner.null()))]
    if guidance.scale == 1 and guidance.text_scale in (None, 1):
        return [(1, conditioner.lay_out(conditioner.full))]
    if guidance.is_double:
        return [(3, conditioner.lay_out([*conditioner.full, *conditioner.melody_only, *conditioner.null()]))]
    if guidance.two_step:
        return [(1, conditioner.lay_out(conditioner.full)), (1, conditioner.lay_out(conditioner.null(alone=True)))]
    return [(2, conditioner.lay_out([*conditioner.full, *conditioner.null()]))]


@torch.no_grad()
def window_codes(
    lm: MusicGenLM,
    known: Tensor,
    n_frames: int,
    batches: Sequence[tuple[int, Conditions]],
    options: Options,
    draw: Callable[[Tensor], Tensor],
) -> Iterator[Tensor]:
    """Generate one window of `n_frames` that starts with `known` [B, K, T]; yields blocks [B, K, t] of what follows.

    A frame is yielded once the last of its codes is drawn, after the pattern's longest delay. Codes
    of the prompt that the delay moves into generated columns are kept.
    """
    n_items, n_codebooks, n_known = known.shape
    pattern, unknown = lm.pattern_of(n_codebooks), known.new_full((n_items, n_codebooks, n_frames - n_known), UNKNOWN)
    columns = pattern.spread(torch.cat([known, unknown], dim=2))
    n_columns, read, sent = columns.shape[2], 0, n_known
    states = [lm.begin(conditions, n_columns, n * n_items, n_codebooks) for n, conditions in batches]
    for column in range(pattern.first_column(n_known), n_columns):
        logits: list[Tensor] = []
        with _threads(lm):
            for (n, _), state in zip(batches, states, strict=True):
                logits += lm.step(columns[:, :, read:column].repeat(n, 1, 1), state).chunk(n)
            drawn, cells = draw(options.guidance.mix(logits)), columns[:, :, column]
        columns[:, :, column] = torch.where(cells == UNKNOWN, drawn, cells)
        read, finished = column, pattern.n_finished(column + 1)
        if finished > sent:
            yield pattern.gather(columns, sent, finished)
            sent = finished


@contextlib.contextmanager
def _threads(lm: MusicGenLM) -> Iterator[None]:
    """Use one thread for a small model, where several would wait for each other longer than they compute."""
    before = torch.get_num_threads()
    if lm.config.dimension > ALONE or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _conditioner(
    lm: MusicGenLM, encoder: TextEncoder | None, request: Request, options: Options, start: int | None
) -> Conditioner:
    """Return the conditions of a window; melodies are excerpts from frame `start` on, or whole."""
    melodies, c = list(request.melodies), lm.config
    if start is not None and c.melody_fusion != "sum":
        at = start / c.frame_rate
        melodies = [None if wav is None else excerpt(wav, at, c.max_seconds, c.sample_rate) for wav in melodies]
    return Conditioner(lm, encoder, request.prompts, melodies, options.padding, start or 0)


def _known(lm: MusicGenLM, n_items: int, channels: int | None, prompt: Tensor | None) -> Tensor:
    """Return the initial codes, int64 [B, K, T]; raises ValueError for channels or codes that the model does not have."""
    c, n_rows = lm.config, None if prompt is None or prompt.dim() != 3 else prompt.shape[1]
    n_codebooks = c.rows(c.channels_for(channels, n_rows))
    if prompt is None:
        return torch.empty(n_items, n_codebooks, 0, dtype=torch.int64)
    return _checked(prompt, lm, n_items, n_codebooks)


def _checked(prompt: Tensor, lm: MusicGenLM, n_items: int, n_codebooks: int) -> Tensor:
    """Convert a prompt to int64; raises ValueError for a wrong shape or codes out of range."""
    c = lm.config
    if prompt.dim() != 3 or prompt.shape[:2] != (n_items, n_codebooks):
        raise ArgumentError(f"prompt codes must be [{n_items}, {n_codebooks}, T], got {tuple(prompt.shape)}")
    if prompt.numel() and not 0 <= int(prompt.min()) <= int(prompt.max()) < c.codebook_size:
        raise ArgumentError(f"prompt codes must lie in [0, {c.codebook_size}), got {int(prompt.min())}..{int(prompt.max())}")
    return prompt.long()
