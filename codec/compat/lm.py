"""The original EnCodec's language model: a causal transformer that predicts the codes of a frame from earlier frames.

A file coded with it can only be read if every probability is reproduced bit for bit. So each operation is the original's,
with two exceptions: keys and values of past frames are kept instead of computed again at every step, and an encoder, which
knows all codes, processes many frames at once. Whether this gives the same bits on this machine is tested beforehand
(`Exactness`).

Layers are post-norm. A frame attends to itself and to the last `past_context` frames; a frame of zeros comes before the
first one. K codebooks are predicted in parallel, none from another one of the same frame.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CheckpointError
from ..pickles import read_pickle
from .arithmetic import CoderError, Decoder, Encoder, tables

HEADS = 8
MAX_PERIOD = 10_000.0  # of the slowest position sinusoid, in frames
CONTEXT_SECONDS = 3.5
FRAME_RATES = {32: 75, 16: 150}  # by number of codebooks, for the models of encodec_24khz and encodec_48khz
SMALL_BLOCKS = (4, 8, 16)  # row counts of small products that may give the same bits as rows of a large product
BLOCK = 64  # frames that an encoder processes at once


class LanguageModel:
    """The weights. `Stream` starts a segment. Immutable, so any number of streams can share it."""

    def __init__(self, state: Mapping[str, Tensor], where: str = "language model") -> None:
        """Build from the published tensors; raises CheckpointError if any are missing, unknown or wrongly shaped."""
        self.n_codebooks, self.n_layers, self.dimension, self.codebook_size = _sizes(state, where)
        state = {name: tensor.float() for name, tensor in state.items()}
        if self.n_codebooks not in FRAME_RATES:
            raise CheckpointError(f"{where}: must have {' or '.join(map(str, FRAME_RATES))} codebooks, got {self.n_codebooks}")
        self.past_context = int(CONTEXT_SECONDS * FRAME_RATES[self.n_codebooks])  # frames
        self.embeddings = [_numpy(state[f"emb.{k}.weight"]) for k in range(self.n_codebooks)]
        self.norm = state["transformer.norm_in.weight"], state["transformer.norm_in.bias"]
        self.layers = [_Layer(state, f"transformer.layers.{i}.") for i in range(self.n_layers)]
        self.heads = [(state[f"linears.{k}.weight"], state[f"linears.{k}.bias"]) for k in range(self.n_codebooks)]
        half = torch.arange(self.dimension // 2).view(1, 1, -1)
        self.periods = MAX_PERIOD ** (half / (self.dimension // 2 - 1))

    @torch.no_grad()
    def encode(self, codes: NDArray[np.integer]) -> bytes:
        """Encode a segment's codes [K, T] to the original's bytes. Raises CoderError for codes that cannot be written."""
        stream, encoder = Stream(self, len(codes)), Encoder()
        before = np.concatenate([np.zeros((len(codes), 1), np.int64), codes[:, :-1] + 1], axis=1).T  # [T, K]
        start = 0
        while start < len(before):
            stop = start + stream.block_size
            ends = tables(stream.step(before[start:stop]).reshape(-1, self.codebook_size)).reshape(-1, *self._table(codes))
            for t, frame in enumerate(ends, start):
                encoder.push(codes[:, t], frame)
            start = stop
        return encoder.flush()

    @torch.no_grad()
    def decode(self, data: bytes | memoryview, n_codebooks: int, n_frames: int) -> tuple[NDArray[np.uint16], int]:
        """Decode codes [K, T] from the start of `data`; also return how many bytes they take.

        Raises EOFError if the data end too early, CoderError for bytes that do not come from this encoder.
        """
        stream, decoder = Stream(self, n_codebooks), Decoder(data)
        before = np.zeros((1, n_codebooks), np.int64)
        frames = []
        for _ in range(n_frames):
            frames.append(decoder.pull(tables(stream.step(before)[0])))
            before = frames[-1][None] + 1
        return np.array(frames, np.uint16).reshape(-1, n_codebooks).T, decoder.n_bytes

    def _table(self, codes: NDArray[np.integer]) -> tuple[int, int]:
        return len(codes), self.codebook_size


class Stream:
    """One segment, processed a few frames at a time."""

    def __init__(self, model: LanguageModel, n_codebooks: int) -> None:
        if not 1 <= n_codebooks <= model.n_codebooks:
            raise CoderError(f"this language model has 1 to {model.n_codebooks} codebooks, got {n_codebooks}")
        self._model, self._k, self._offset = model, n_codebooks, 0
        self._exact = Exactness.here(model.dimension, model.codebook_size, model.past_context + 1, torch.get_num_threads())
        self._pasts = [_Past(layer, model.past_context, self._exact) for layer in model.layers]

    @property
    def block_size(self) -> int:
        """Number of frames that `step` may process at once."""
        return BLOCK if self._exact.blocks and self._offset >= self._exact.rows_from else 1

    def step(self, before: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the probabilities [T, K, V] of frames, given the previous codes as embedding rows [T, K], 0 for none."""
        model, n_frames = self._model, len(before)
        rows = [model.embeddings[k][before[:, k]] for k in range(self._k)]
        x = torch.from_numpy(np.add.reduce(np.stack(rows), axis=0)).view(n_frames, 1, -1)
        phase = torch.arange(self._offset, self._offset + n_frames).view(-1, 1, 1) / model.periods
        x = F.layer_norm(x, (model.dimension,), *model.norm) + torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1)
        for past in self._pasts:
            x = past.step(x)
        self._offset += n_frames
        logits = torch.stack([_product(x, *head) for head in model.heads[: self._k]], dim=1).permute(0, 3, 1, 2)
        return np.stack([_numpy(torch.softmax(frame, dim=1)[0, :, :, 0]).T for frame in logits.split(1)])


class _Layer:
    """The tensors of one layer."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str) -> None:
        def both(name: str) -> tuple[Tensor, Tensor]:
            return state[f"{prefix}{name}.weight"], state[f"{prefix}{name}.bias"]

        weight, bias = state[f"{prefix}self_attn.in_proj_weight"], state[f"{prefix}self_attn.in_proj_bias"]
        self.dimension = weight.shape[1]
        self.query = weight[: self.dimension], bias[: self.dimension]
        self.keys_values = weight[self.dimension :], bias[self.dimension :]
        self.out, self.up, self.down = both("self_attn.out_proj"), both("linear1"), both("linear2")
        self.norms = both("norm1"), both("norm2")


class _Past:
    """What one layer keeps of a segment: its inputs until products of single rows are exact, then keys and values."""

    def __init__(self, layer: _Layer, past_context: int, exact: Exactness) -> None:
        self._layer, self._context, self._exact = layer, past_context, exact
        self._inputs = torch.zeros(1, 1, layer.dimension)  # [S, 1, D]; starts with the frame of zeros
        self._rows = torch.zeros(max(BLOCK, SMALL_BLOCKS[-1]), 1, layer.dimension)
        self._kept = torch.empty(2, 2 * past_context + BLOCK, layer.dimension)  # keys and values; the window moves through it
        self._start = self._stop = 0
        self._mask = torch.zeros(1, 1, 1, past_context + 1)

    def step(self, x: Tensor) -> Tensor:
        """Run frames through the layer: [T, 1, D] -> [T, 1, D]."""
        layer, d = self._layer, self._layer.dimension
        q = _product(x, *layer.query).view(len(x), HEADS, 1, -1)
        heard = self._attend(q, *self._keys_values(x))
        x = F.layer_norm(x + _product(heard, *layer.out), (d,), *layer.norms[0])
        return F.layer_norm(x + _product(F.gelu(_product(x, *layer.up)), *layer.down), (d,), *layer.norms[1])

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from queries [T, H, 1, D/H] to the window ending at each frame; keys, values [S + T - 1, D] -> [T, 1, D]."""
        d, size = self._layer.dimension, len(keys) - len(q) + 1  # of the first window
        heard = []
        for i in range(len(q)):
            first, last = max(0, size + i - self._context - 1), size + i
            k, v = (rows[first:last].view(-1, HEADS, d // HEADS).transpose(0, 1)[None] for rows in (keys, values))
            heard.append(F.scaled_dot_product_attention(q[i : i + 1], k, v, self._mask[..., : last - first]))
        return torch.cat(heard).view(len(q), 1, d)

    def _keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values from the first frame's window to the last frame: [S + T - 1, D] each."""
        n_frames = len(x)
        if self._stop == 0:
            inputs = torch.cat([self._inputs, x])
            self._inputs = inputs[-self._context :]
            found = F.linear(inputs, *self._layer.keys_values)[:, 0].unflatten(-1, (2, -1)).transpose(0, 1).contiguous()
            if len(inputs) >= self._exact.rows_from:
                self._stop = len(inputs)
                self._kept[:, : self._stop] = found
            return found[0], found[1]
        if self._stop + n_frames > self._kept.shape[1]:
            size = self._stop - self._start
            self._kept[:, :size] = self._kept[:, self._start :].clone()
            self._start, self._stop = 0, size
        self._rows[:n_frames] = x
        n_rows = self._exact.small if n_frames <= self._exact.small else max(n_frames, self._exact.rows_from)
        rows = F.linear(self._rows[:n_rows], *self._layer.keys_values)[:n_frames, 0]
        self._kept[:, self._stop : self._stop + n_frames] = rows.unflatten(-1, (2, -1)).transpose(0, 1)
        first, self._stop = self._start, self._stop + n_frames
        self._start = max(first, self._stop - self._context)  # what the next frame can attend to, without itself
        return self._kept[0, first : self._stop], self._kept[1, first : self._stop]


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x @ weight.T + bias, row by row as in the original: [T, 1, I], [O, I], [O] -> [T, 1, O]."""
    if len(x) == 1:
        return F.linear(x, weight, bias)
    return torch.baddbmm(bias, x, weight.t().expand(len(x), -1, -1))


@dataclass(frozen=True)
class Exactness:
    """Which faster methods reproduce the original's bits on this machine.

    The order in which a product is summed depends on its shape but not on its values, so a test with random values suffices.
    """

    rows_from: int  # products of at least this many rows give each row the same bits as products of `small` rows
    small: int
    blocks: bool  # whether batches of one-row products give the same bits as single ones

    @staticmethod
    @functools.cache
    def here(dimension: int, n_entries: int, max_rows: int, n_threads: int) -> Exactness:
        """Run the test. `n_threads` is only a cache key: it decides how products are divided."""
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        x, both = draw(max_rows, 1, dimension), (draw(2 * dimension, dimension), draw(2 * dimension))
        found = []
        for small in SMALL_BLOCKS:
            padded = torch.cat([x, x[:small]])
            rows = torch.cat([F.linear(padded[i : i + small], *both)[:1] for i in range(max_rows)])
            bad = [size for size in range(1, max_rows + 1) if not torch.equal(F.linear(x[:size], *both), rows[:size])]
            found.append((bad[-1] + 1 if bad else 1, small))
        first, small = min(found)
        alike = True
        wide = 4 * dimension
        for n_in, n_out in ((dimension, dimension), (dimension, wide), (wide, dimension), (dimension, n_entries)):
            some, weight, bias = draw(BLOCK, 1, n_in), draw(n_out, n_in), draw(n_out)
            singles = torch.cat([F.linear(one, weight, bias) for one in some.split(1)])
            alike &= torch.equal(singles, _product(some, weight, bias))
        return Exactness(first, small, alike and first <= BLOCK)


def load_language_model(path: Path) -> LanguageModel:
    """Read `encodec_lm_24khz-*.th` or `encodec_lm_48khz-*.th`; raises CheckpointError, with one line, for other files."""
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f"{path}: holds no state dict")
    return LanguageModel(content, str(path))


def _sizes(state: Mapping[str, Tensor], where: str) -> tuple[int, int, int, int]:
    """Return the codebooks, layers, D and V, after checking that every tensor exists and fits."""
    found = [m.groups() for name in state if (m := re.match(r"(emb|transformer\.layers)\.(\d{1,3})\.", name))]
    n_codebooks = 1 + max((int(i) for kind, i in found if kind == "emb"), default=-1)
    n_layers = 1 + max((int(i) for kind, i in found if kind != "emb"), default=-1)
    first = state.get("emb.0.weight")
    if first is None or first.dim() != 2 or n_layers < 1:
        raise CheckpointError(f"{where}: not a language model of EnCodec's first release (no emb.0.weight, or no layers)")
    size, d = first.shape[0] - 1, first.shape[1]
    up = state.get("transformer.layers.0.linear1.weight")
    wide = up.shape[0] if up is not None else 4 * d
    wanted: dict[str, tuple[int, ...]] = {f"transformer.norm_in.{part}": (d,) for part in ("weight", "bias")}
    for i in range(n_layers):
        prefix = f"transformer.layers.{i}."
        wanted |= {f"{prefix}self_attn.in_proj_weight": (3 * d, d), f"{prefix}self_attn.in_proj_bias": (3 * d,)}
        for name, shape in {
            "self_attn.out_proj": (d, d),
            "linear1": (wide, d),
            "linear2": (d, wide),
            "norm1": (d,),
            "norm2": (d,),
        }.items():
            wanted |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
    for k in range(n_codebooks):
        wanted |= {f"emb.{k}.weight": (size + 1, d), f"linears.{k}.weight": (size, d), f"linears.{k}.bias": (size,)}
    for name in sorted(wanted.keys() | state.keys()):
        got = tuple(state[name].shape) if name in state else None
        if got != wanted.get(name):
            raise CheckpointError(f"{where}: {name} must be {wanted.get(name, 'absent')}, got {got or 'nothing'}")
    return n_codebooks, n_layers, d, size


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.numpy()
    return array
