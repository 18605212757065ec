"""The most likely next frame of codes, as an entropy prior knows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .prior import Past, Prior
from .prior_scales import LARGEST, active


def most_likely(prior: Prior, codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return codes [K, 1] that are likely to follow codes [K, T]: for each codebook in turn the most likely one.

    Raises ValueError if the prior knows fewer codebooks.
    """
    n_codebooks = len(codes)
    found = np.zeros((n_codebooks, 1), np.uint16)
    u = prior.contexts(np.concatenate([codes, found], axis=1), Past())[-1:]
    for k in range(n_codebooks):
        hidden = active(u, -LARGEST) @ prior.matrix("head_mix", k) + prior.matrix("head_mix_bias", k)
        scores = active(hidden, 0) @ prior.matrix("head_weight", k) + prior.matrix("head_bias", k)
        found[k] = code = int(scores.argmax())
        u = u + prior.matrix("book_embedding", k)[code]
    return found
