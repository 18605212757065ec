"""Convert published tensors to ours: both published layouts differ in names and in which tensors are joined.

Each of our tensors is a concatenation, along its first axis, of one or more published tensors or
row ranges of them. So a recipe is a list of parts, and a model is filled tensor by tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .config import CODEBOOK_SIZE, N_CODEBOOKS, MusicGenConfig
from .style import N_FEATURES, N_LAYERS, WIDTH

# Other contents of such files: other networks, and tables that follow from the configuration.
IGNORED = {
    "hugging_face": re.compile(r"(text_encoder|audio_encoder)\..*|(decoder\.)?model\.decoder\.embed_positions\.weights"),
    "audiocraft": re.compile(
        r"condition_provider\.conditioners\.self_wav\.(chroma\.spec\.window|batch_norm\.num_batches_tracked|"
        r"rvq\.vq\.layers\.\d+\._codebook\.(inited|cluster_size|embed_avg))"
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [start, stop) of a published tensor of `shape`; stop None means to the end."""

    name: str
    shape: tuple[int, ...]
    start: int = 0
    stop: int | None = None


Recipe = dict[str, list[Part]]  # our name: the parts to concatenate


def hugging_face_recipe(config: MusicGenConfig, prefix: str) -> Recipe:
    """Return the recipe for transformers' names; `prefix` precedes the decoder's names in a whole model."""
    d = config.dimension

    def attention(theirs: str, words: str) -> list[Part]:
        return [Part(f"{theirs}.{word}_proj.weight", (d, d)) for word in words]

    def layer(i: int) -> Iterator[tuple[str, list[Part]]]:
        theirs = f"{prefix}model.decoder.layers.{i}"
        yield from _norm("norm_self", f"{theirs}.self_attn_layer_norm", d)
        yield "attention.qkv.weight", attention(f"{theirs}.self_attn", "qkv")
        yield "attention.out.weight", [Part(f"{theirs}.self_attn.out_proj.weight", (d, d))]
        if config.cross_attention:
            yield from _norm("norm_cross", f"{theirs}.encoder_attn_layer_norm", d)
            yield "cross.q.weight", attention(f"{theirs}.encoder_attn", "q")
            yield "cross.kv.weight", attention(f"{theirs}.encoder_attn", "kv")
            yield "cross.out.weight", [Part(f"{theirs}.encoder_attn.out_proj.weight", (d, d))]
        yield from _norm("norm_ff", f"{theirs}.final_layer_norm", d)
        yield "up.weight", [Part(f"{theirs}.fc1.weight", (config.ff_dimension, d))]
        yield "down.weight", [Part(f"{theirs}.fc2.weight", (d, config.ff_dimension))]

    decoder = f"{prefix}model.decoder"
    recipe = _recipe(config, f"{decoder}.embed_tokens", layer, f"{decoder}.layer_norm", f"{prefix}lm_heads")
    return recipe | _projections(config, "enc_to_dec_proj", "audio_enc_to_dec_proj")


def audiocraft_recipe(config: MusicGenConfig) -> Recipe:
    """Return the recipe for audiocraft's names; its attention joins query, key and value in one tensor of 3 D rows."""

    def layer(i: int) -> Iterator[tuple[str, list[Part]]]:
        return _audiocraft_layer(f"transformer.layers.{i}", config.dimension, config.ff_dimension, config.cross_attention)

    conditioners = "condition_provider.conditioners"
    recipe = _recipe(config, "emb", layer, "out_norm", "linears")
    recipe |= _projections(config, f"{conditioners}.description.output_proj", f"{conditioners}.self_wav.output_proj")
    return recipe | (_style(f"{conditioners}.self_wav") if config.style else {})


def _audiocraft_layer(theirs: str, d: int, ff_dimension: int, cross_attention: bool) -> Iterator[tuple[str, list[Part]]]:
    yield from _norm("norm_self", f"{theirs}.norm1", d)
    yield "attention.qkv.weight", [Part(f"{theirs}.self_attn.in_proj_weight", (3 * d, d))]
    yield "attention.out.weight", [Part(f"{theirs}.self_attn.out_proj.weight", (d, d))]
    if cross_attention:
        joined = f"{theirs}.cross_attention.in_proj_weight"
        yield from _norm("norm_cross", f"{theirs}.norm_cross", d)
        yield "cross.q.weight", [Part(joined, (3 * d, d), 0, d)]
        yield "cross.kv.weight", [Part(joined, (3 * d, d), d)]
        yield "cross.out.weight", [Part(f"{theirs}.cross_attention.out_proj.weight", (d, d))]
    yield from _norm("norm_ff", f"{theirs}.norm2", d)
    yield "up.weight", [Part(f"{theirs}.linear1.weight", (ff_dimension, d))]
    yield "down.weight", [Part(f"{theirs}.linear2.weight", (d, ff_dimension))]


def _style(theirs: str) -> Recipe:
    """Return the recipe of the style encoder, which only audiocraft publishes."""
    recipe: Recipe = {
        "style.embed.weight": [Part(f"{theirs}.embed.weight", (WIDTH, N_FEATURES))],
        "style.embed.bias": [Part(f"{theirs}.embed.bias", (WIDTH,))],
        "style.mean": [Part(f"{theirs}.batch_norm.running_mean", (WIDTH,))],
        "style.variance": [Part(f"{theirs}.batch_norm.running_var", (WIDTH,))],
        "style.codebooks": [
            Part(f"{theirs}.rvq.vq.layers.{q}._codebook.embed", (CODEBOOK_SIZE, WIDTH)) for q in range(N_CODEBOOKS)
        ],
    }
    for i in range(N_LAYERS):
        layer = _audiocraft_layer(f"{theirs}.transformer.layers.{i}", WIDTH, 4 * WIDTH, False)
        recipe |= {f"style.layers.{i}.{ours}": parts for ours, parts in layer}
    return recipe


def _recipe(
    config: MusicGenConfig,
    embeddings: str,
    layer: Callable[[int], Iterator[tuple[str, list[Part]]]],
    norm: str,
    heads: str,
) -> Recipe:
    """Return what both layouts share: one embedding and one head per codebook, layers, a last norm."""
    d, v = config.dimension, config.codebook_size
    books = range(config.n_codebooks)
    recipe = {"embedding.weight": [Part(f"{embeddings}.{k}.weight", (v + 1, d)) for k in books]}
    for i in range(config.n_layers):
        recipe |= {f"layers.{i}.{ours}": parts for ours, parts in layer(i)}
    recipe |= dict(_norm("norm", norm, d))
    return recipe | {"heads.weight": [Part(f"{heads}.{k}.weight", (v, d)) for k in books]}


def _norm(ours: str, theirs: str, dimension: int) -> Iterator[tuple[str, list[Part]]]:
    for word in ("weight", "bias"):
        yield f"{ours}.{word}", [Part(f"{theirs}.{word}", (dimension,))]


def _projections(config: MusicGenConfig, text: str, melody: str) -> Recipe:
    """Return the projections of conditions to the model's width, with biases."""
    recipe: Recipe = {}
    for ours, theirs, n_in in (
        ("text", text, config.text_dimension),
        ("melody", melody, WIDTH if config.style else config.n_chroma),
    ):
        if n_in:
            recipe[f"{ours}.weight"] = [Part(f"{theirs}.weight", (config.dimension, n_in))]
            recipe[f"{ours}.bias"] = [Part(f"{theirs}.bias", (config.dimension,))]
    return recipe
