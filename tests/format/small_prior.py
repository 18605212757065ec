"""A prior of a few thousand numbers, and codes that it finds likely."""

from __future__ import annotations

import numpy as np
from ecdc.format.entropy import prior_kernels, rangecoder
from ecdc.format.entropy.prior import LAYOUT

SIZES = {"K": 3, "V": 17, "H": 8, "L": 3, "E": 40}
SPACE = bytes(range(32))


def made(seed=0, **sizes):
    """Arrays of a small prior, from a congruential generator that is the same everywhere."""
    state = seed * 2 + 1
    arrays = {}
    for name, (dtype, axes) in LAYOUT.items():
        shape = tuple((SIZES | sizes)[axis] for axis in axes.split())
        values = []
        for _ in range(int(np.prod(shape))):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            values.append((state >> 33) % 255 - 127)
        arrays[name] = np.array(values).reshape(shape).astype(dtype)
        arrays[name] *= 20 if "bias" in name else 1
    arrays["dilations"] = np.array([1, 2, 5, 9][: arrays["dilations"].size], np.int32)
    arrays["table"] = np.array([65536 * 7**i // 8**i for i in range(arrays["table"].size)], np.int32)
    return arrays


def likely(prior, shape, seed):
    """Codes that the prior finds likely, so that payloads are worth their while."""
    state, words = (
        rangecoder.LOW + seed,
        np.random.default_rng(seed).integers(0, 2**32, 4 * shape[0] * shape[1]).astype(np.uint32),
    )
    codes = np.zeros(shape, np.uint16)
    get = prior.arrays.__getitem__
    prior_kernels.decode(
        np.int64(state), words, 0, codes, 0, shape[1], prior.no_past(),
        (get("frame_embedding"), get("book_embedding"), get("table")), get("dilations"),
        tuple(get(n) for n in ("mix_now", "mix_past", "mix_bias", "out_weight", "out_bias")),
        tuple(get(n) for n in ("head_mix", "head_mix_bias", "head_weight", "head_bias")),
    )  # fmt: skip
    return codes
