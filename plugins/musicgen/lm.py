"""The language model over codes: columns of K tokens in, logits of the next column out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn as nn
from torch import Tensor

from .config import MusicGenConfig
from .linear import Linear
from .patterns import DelayPattern
from .style import WIDTH, StyleEncoder
from .transformer import Cache, Layer, sinusoids


@dataclass(frozen=True, slots=True)
class Conditions:
    """What steers R rows of generation; the masks are None where padding counts like anything else."""

    cross: Tensor | None = None  # [R, L, D], attended to by every layer
    cross_mask: Tensor | None = None  # bool [R, L], False for padding
    prefix: Tensor | None = None  # [R, P, D], before the first token
    prefix_padding: Tensor | None = None  # int [R]: columns at the start of the prefix that are none of the row's own


@dataclass
class State:
    """What R rows of generation carry from step to step, updated in place."""

    caches: list[Cache]  # one per layer
    prepared: list[tuple[Tensor, Tensor]]  # keys and values of the conditions, one pair per layer; empty: none
    cross_mask: Tensor | None  # bool [R, 1, 1, L]
    prefix: Tensor | None  # [R, P, D], until the first step has read it
    padding: Tensor | None  # int [R, 1]: columns that do not exist for a row
    length: int = 0  # columns so far, the prefix included
    columns: Tensor = field(default_factory=lambda: torch.empty(0))  # int [capacity]: 0, 1, 2 ...


class MusicGenLM(nn.Module):
    """Sum of K embeddings, positions, a causal transformer, K heads."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        self.config = config
        self.pattern = DelayPattern(config.delays, config.special)
        d, k, v = config.dimension, config.n_codebooks, config.codebook_size
        self.embedding = nn.Embedding(k * (v + 1), d)  # one table after the other
        self.layers = nn.ModuleList(
            Layer(d, config.n_heads, config.ff_dimension, config.cross_attention) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(d)
        self.heads = Linear(d, k * v)  # one after the other
        self.text = nn.Linear(config.text_dimension, d) if config.text_dimension else None
        n_melody = WIDTH if config.style else config.n_chroma
        self.style = StyleEncoder() if config.style else None
        self.melody = nn.Linear(n_melody, d) if n_melody else None
        self._positions = torch.empty(0)

    def begin(self, conditions: Conditions, n_columns: int, n_rows: int) -> State:
        """The state of `n_rows` rows before their first column, with room for `n_columns` beside the prefix."""
        c, prefix = self.config, conditions.prefix
        for rows in (conditions.cross, prefix):
            if rows is not None and n_rows not in (0, len(rows)):
                raise ValueError(f"conditions must be of {n_rows} rows, got {len(rows)}")
        capacity = n_columns + (0 if prefix is None else prefix.shape[1])
        shape = (n_rows, c.n_heads, capacity, c.dimension // c.n_heads)
        like = self.embedding.weight.detach()
        prepared, mask = [], None
        if conditions.cross is not None and c.cross_attention:
            prepared = [layer.cross.prepare(conditions.cross) for layer in self.layers]  # type: ignore[union-attr,operator]
            mask = None if conditions.cross_mask is None else conditions.cross_mask[:, None, None]
        padding = None if conditions.prefix_padding is None else conditions.prefix_padding[:, None]
        caches = [Cache(shape, like) for _ in self.layers]
        return State(caches, prepared, mask, prefix, padding, columns=torch.arange(capacity, device=like.device))

    def forward(self, tokens: Tensor, state: State | None = None, conditions: Conditions | None = None) -> Tensor:
        """Logits of what follows each column.

        Shapes: tokens [R, K, S] in [0, V], V the special one -> [R, K, S, V]. With a state, the
        columns go on where the last call ended. Without, they stand alone and gradients flow.
        Raises ValueError for a wrong shape.
        """
        hidden = self._hidden(tokens, state or self._stateless(tokens, conditions or Conditions()), state is not None)
        return self._logits(hidden[:, hidden.shape[1] - tokens.shape[2] :])

    @torch.no_grad()
    def step(self, tokens: Tensor, state: State) -> Tensor:
        """Logits after the last of the new columns only: [R, K, S] -> [R, K, V]."""
        return self._logits(self._hidden(tokens, state, True)[:, -1:])[:, :, 0]

    def _stateless(self, tokens: Tensor, conditions: Conditions) -> State:
        """Conditions as a state that keeps nothing."""
        state = self.begin(conditions, 0, 0)
        n_columns = tokens.shape[-1] + (0 if conditions.prefix is None else conditions.prefix.shape[1])
        state.columns = torch.arange(n_columns, device=tokens.device)
        return state

    def _hidden(self, tokens: Tensor, state: State, keep: bool) -> Tensor:
        """Tokens [R, K, S] -> normalized outputs [R, P + S, D]; the prefix comes with the first call only."""
        c = self.config
        if tokens.dim() != 3 or tokens.shape[1] != c.n_codebooks or tokens.shape[2] == 0:
            raise ValueError(f"tokens must be [R, {c.n_codebooks}, S], got {tuple(tokens.shape)}")
        offsets = torch.arange(c.n_codebooks, device=tokens.device)[:, None] * (c.codebook_size + 1)
        x = self.embedding(tokens + offsets).sum(dim=1)  # [R, S, D]
        if state.prefix is not None:
            x = torch.cat([state.prefix.to(x.dtype), x], dim=1)
            state.prefix = None
        start, stop = state.length, state.length + x.shape[1]
        if stop > len(state.columns):
            raise ValueError(f"the state has room for {len(state.columns)} columns, {stop} are needed")
        x = x + self._position(state, start, stop)
        mask = _visible(state, start, stop)
        for i, layer in enumerate(self.layers):
            prepared = state.prepared[i] if state.prepared else None
            x = layer(x, mask, state.caches[i] if keep else None, start, prepared, state.cross_mask)
        state.length = stop
        return self.norm(x)  # type: ignore[no-any-return]

    def _position(self, state: State, start: int, stop: int) -> Tensor:
        """Sinusoids [R or 1, S, D] of the columns; each row counts from its own first one."""
        if len(self._positions) < stop:
            self._positions = sinusoids(max(2048, stop), self.config.dimension)
        self._positions = self._positions.to(self.embedding.weight.device)
        if state.padding is None:
            return self._positions[None, start:stop]
        return self._positions[(state.columns[start:stop] - state.padding).clamp(min=0)]

    def _logits(self, hidden: Tensor) -> Tensor:
        """[R, S, D] -> [R, K, S, V]."""
        logits = self.heads(hidden).unflatten(-1, (self.config.n_codebooks, self.config.codebook_size))
        return logits.transpose(1, 2)  # type: ignore[no-any-return]


def _visible(state: State, start: int, stop: int) -> Tensor | None:
    """What columns [start, stop) see, bool [R or 1, 1, S, stop]; None where it is everything before them."""
    if state.padding is None and (start == 0 or stop - start == 1):
        return None
    columns = state.columns[:stop]
    causal = columns <= columns[start:, None]  # [S, stop]
    if state.padding is None:
        return causal[None, None]
    # A column that does not exist sees itself, so that it holds numbers; nobody sees it.
    own = columns == columns[start:, None]
    exists = columns >= state.padding  # [R, stop]
    return ((causal & exists[:, None]) | own)[:, None]
