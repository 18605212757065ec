"""The language model over codes: columns of K tokens in, logits of the next column out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn as nn
from torch import Tensor

from ...format.errors import ArgumentError
from .config import MusicGenConfig
from .linear import Linear, product
from .patterns import DelayPattern
from .style import WIDTH, StyleEncoder
from .transformer import Cache, Layer, sinusoids


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of R batch items. The masks are None if padding is treated like other input."""

    cross: Tensor | None = None  # [R, L, D], attended to by every layer
    cross_mask: Tensor | None = None  # bool [R, L], False for padding
    prefix: Tensor | None = None  # [R, P, D], before the first token
    prefix_padding: Tensor | None = None  # int [R]: columns at the start of the prefix that are padding
    added: Tensor | None = None  # [R, n, D], added to the first n columns of tokens
    summary: Tensor | None = None  # [R, D], added to all of them


@dataclass(frozen=True, slots=True)
class Books:
    """The k codebooks that are read and written: all, or those of one channel."""

    offsets: Tensor  # int [k, 1]: start of each codebook's embeddings
    absent: Tensor | None  # [D]: sum of the special tokens' embeddings of the omitted codebooks, added to every column
    heads: Tensor  # [k * V, D]


@dataclass
class State:
    """What R batch items carry from step to step, updated in place."""

    books: Books
    caches: list[Cache]  # one per layer
    prepared: list[tuple[Tensor, Tensor]]  # keys and values of the conditions, one pair per layer, or empty
    cross_mask: Tensor | None  # bool [R, 1, 1, L]
    prefix: Tensor | None  # [R, P, D], until the first step has used it
    padding: Tensor | None  # int [R, 1]: padding columns of an item
    added: Tensor | None  # [R, n, D]
    summary: Tensor | None  # [R, D]
    length: int = 0  # columns so far, including the prefix
    n_tokens: int = 0  # columns so far, without the prefix
    columns: Tensor = field(default_factory=lambda: torch.empty(0))  # int [capacity]: 0, 1, 2 ...


class MusicGenLM(nn.Module):
    """Sum of K embeddings, positions, a causal transformer, and K heads."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        self.config = config
        self.pattern = DelayPattern(config.delays, config.special)
        d, k, v = config.dimension, config.n_codebooks, config.codebook_size
        tables = torch.empty(k * (v + 1), d)
        if not tables.is_meta:  # for meta tensors torch would import its compiler, which takes a second
            tables.normal_()
        self.embedding = nn.Embedding(k * (v + 1), d, _weight=tables)  # all K tables, concatenated
        self.layers = nn.ModuleList(
            Layer(d, config.n_heads, config.ff_dimension, config.cross_attention) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(d)
        self.heads = Linear(d, k * v)  # all K heads, concatenated
        self.text = nn.Linear(config.text_dimension, d) if config.text_dimension else None
        self.summary = Linear(config.text_dimension, d) if config.text_summary else None
        n_melody = WIDTH if config.style else config.n_chroma
        self.style = StyleEncoder() if config.style else None
        self.melody = nn.Linear(n_melody, d) if n_melody else None
        self.beat = nn.Linear(config.n_beats, d) if config.n_beats else None
        self._positions = torch.empty(0)

    def pattern_of(self, n_rows: int) -> DelayPattern:
        """Return the pattern of all codebooks, or of those of one channel."""
        c = self.config
        return self.pattern if n_rows == c.n_codebooks else DelayPattern(c.delays[:: c.channels], c.special)

    def begin(self, conditions: Conditions, n_columns: int, n_rows: int, n_codebooks: int | None = None) -> State:
        """Return the state of `n_rows` batch items before their first column, with room for the prefix and `n_columns`.

        Each column holds `n_codebooks` tokens: K, or K / 2 for mono from a model that makes both.
        """
        c, prefix = self.config, conditions.prefix
        for rows in (conditions.cross, prefix, conditions.added, conditions.summary):
            if rows is not None and n_rows not in (0, len(rows)):
                raise ArgumentError(f"conditions must be of {n_rows} rows, got {len(rows)}")
        capacity = n_columns + (0 if prefix is None else prefix.shape[1])
        shape = (n_rows, c.n_heads, capacity, c.dimension // c.n_heads)
        like = self.embedding.weight.detach()
        prepared, mask = [], None
        if conditions.cross is not None and c.cross_attention:
            prepared = [layer.cross.prepare(conditions.cross) for layer in self.layers]  # type: ignore[union-attr,operator]
            mask = None if conditions.cross_mask is None else conditions.cross_mask[:, None, None]
        padding = None if conditions.prefix_padding is None else conditions.prefix_padding[:, None]
        caches = [Cache(shape, like) for _ in self.layers]
        books, columns = self.books(n_codebooks or c.n_codebooks), torch.arange(capacity, device=like.device)
        added = conditions.added, conditions.summary
        return State(books, caches, prepared, mask, prefix, padding, *added, columns=columns)

    def forward(self, tokens: Tensor, state: State | None = None, conditions: Conditions | None = None) -> Tensor:
        """Return the logits after each column.

        Shapes: tokens [R, K, S] in [0, V], V the special one -> [R, K, S, V]; K as in `begin`.
        With a state, the columns continue the last call. Without one, they stand alone and gradients
        flow. Raises ValueError for a wrong shape.
        """
        own = state or self._stateless(tokens, conditions or Conditions())
        hidden = self._hidden(tokens, own, state is not None)
        return self._logits(hidden[:, hidden.shape[1] - tokens.shape[2] :], own.books)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: State) -> Tensor:
        """Return the logits after the last new column only: [R, K, S] -> [R, K, V]."""
        return self._logits(self._hidden(tokens, state, True)[:, -1:], state.books)[:, :, 0]

    def books(self, n_codebooks: int) -> Books:
        """Return all K codebooks, or those of the first channel; raises ValueError for another number."""
        c, n_all = self.config, self.config.n_codebooks
        if n_codebooks != n_all and not (c.mono and n_codebooks == n_all // 2):
            wanted = f"{n_all // 2} or {n_all}" if c.mono else str(n_all)
            raise ArgumentError(f"tokens must be [R, {wanted}, S], got {n_codebooks} rows")
        offsets = torch.arange(n_all, device=self.embedding.weight.device)[:, None] * (c.codebook_size + 1)
        if n_codebooks == n_all:
            return Books(offsets, None, self.heads.weight)
        heads = self.heads.weight.unflatten(0, (n_all, -1))[::2].flatten(0, 1)  # channels alternate
        return Books(offsets[::2], self.embedding(offsets[1::2, 0] + c.special).sum(dim=0), heads)

    def embed(self, tokens: Tensor, books: Books) -> Tensor:
        """Return the sum of each column's embeddings: [R, k, S] -> [R, S, D]."""
        x: Tensor = self.embedding(tokens + books.offsets).sum(dim=1)
        return x if books.absent is None else x + books.absent

    def embed_classes(self, classes: Tensor) -> Tensor:
        """Embed the pitch classes [..., T] of frames (-1 for none), to be added to columns: [..., T + delays[0], D].

        The first code of frame t is in column t + delays[0] + 1. The column before predicts it, and receives the class.
        """
        assert self.melody is not None
        return self._added(self.melody, classes)

    def embed_beats(self, phases: Tensor) -> Tensor:
        """Like `embed_classes`, for beat phases."""
        assert self.beat is not None
        return self._added(self.beat, phases)

    def _added(self, part: nn.Linear, classes: Tensor) -> Tensor:
        table = part.weight.t() + part.bias
        table = torch.cat([table, table.new_zeros(1, self.config.dimension)])
        found = nn.functional.embedding(classes % len(table), table)
        return nn.functional.pad(found, (0, 0, self.config.delays[0], 0))

    def run(self, x: Tensor, state: State, keep: bool) -> Tensor:
        """Apply positions, layers and the last norm: [R, S, D] -> [R, S, D]. With `keep`, later columns see these."""
        start, stop = state.length, state.length + x.shape[1]
        if stop > len(state.columns):
            raise ArgumentError(f"the state has room for {len(state.columns)} columns, {stop} are needed")
        places, mask = self._position(state, start, stop), _visible(state, start, stop)
        turns = places if self.config.rotary else None
        x = x if self.config.rotary else x + places
        for i, layer in enumerate(self.layers):
            prepared = state.prepared[i] if state.prepared else None
            x = layer(x, mask, state.caches[i] if keep else None, start, prepared, state.cross_mask, turns)
        state.length = stop
        return self.norm(x)  # type: ignore[no-any-return]

    def _stateless(self, tokens: Tensor, conditions: Conditions) -> State:
        """Return a state for the conditions that keeps nothing between calls."""
        state = self.begin(conditions, 0, 0, tokens.shape[1] if tokens.dim() == 3 else None)
        n_columns = tokens.shape[-1] + (0 if conditions.prefix is None else conditions.prefix.shape[1])
        state.columns = torch.arange(n_columns, device=tokens.device)
        return state

    def _hidden(self, tokens: Tensor, state: State, keep: bool) -> Tensor:
        """Tokens [R, K, S] -> normalized outputs [R, P + S, D]; only the first call includes the prefix."""
        if tokens.dim() != 3 or tokens.shape[1] != len(state.books.offsets) or tokens.shape[2] == 0:
            raise ArgumentError(f"tokens must be [R, {len(state.books.offsets)}, S], got {tuple(tokens.shape)}")
        x = self.embed(tokens, state.books)
        if state.added is not None:
            part = state.added[:, state.n_tokens : state.n_tokens + x.shape[1]]
            # Nothing is added to columns after the end of `added`.
            x = x + nn.functional.pad(part, (0, 0, 0, x.shape[1] - part.shape[1]))
        if state.summary is not None:
            x = x + state.summary[:, None]
        state.n_tokens += x.shape[1]
        if state.prefix is not None:
            x = torch.cat([state.prefix.to(x.dtype), x], dim=1)
            state.prefix = None
        return self.run(x, state, keep)

    def _position(self, state: State, start: int, stop: int) -> Tensor:
        """Return sinusoids [R or 1, S, D], or of a head's size, of columns. Each item counts from its first real column."""
        if len(self._positions) < stop:
            c = self.config
            self._positions = sinusoids(max(2048, stop), c.dimension // (c.n_heads if c.rotary else 1))
        self._positions = self._positions.to(self.embedding.weight.device)
        if state.padding is None:
            return self._positions[None, start:stop]
        return self._positions[(state.columns[start:stop] - state.padding).clamp(min=0)]

    def _logits(self, hidden: Tensor, books: Books) -> Tensor:
        """Hidden states [R, S, D] -> logits [R, k, S, V]."""
        logits = product(hidden, books.heads).unflatten(-1, (len(books.offsets), self.config.codebook_size))
        return logits.transpose(1, 2)


def _visible(state: State, start: int, stop: int) -> Tensor | None:
    """Return which columns the columns [start, stop) see, bool [R or 1, 1, S, stop]; None if they see all before them."""
    if state.padding is None and (start == 0 or stop - start == 1):
        return None
    columns = state.columns[:stop]
    causal = columns <= columns[start:, None]  # [S, stop]
    if state.padding is None:
        return causal[None, None]
    # A padding column sees itself, so that its values are finite; no other column sees it.
    own = columns == columns[start:, None]
    exists = columns >= state.padding  # [R, stop]
    return ((causal & exists[:, None]) | own)[:, None]
