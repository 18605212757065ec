"""Measure how a model uses its codebooks, and how far its tokens drift if audio is coded repeatedly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..codec.model import Codec
from .corpus import Clip

GENERATIONS = (1, 5)


def usage(codec: Codec, clips: Sequence[Clip]) -> list[dict[str, float]]:
    """Return for each codebook, coarse to fine, the share of entries that occur, and the perplexity as a share of V.

    Neither can be higher than the number of frames over V, so a small set of clips limits both.
    """
    codes = np.concatenate([_encode(codec, clip.audio)[0] for clip in clips], axis=1)  # [K, T]
    size = codec.config.codebook_size
    rows = []
    for k, row in enumerate(codes):
        share = np.bincount(row, minlength=size) / len(row)
        seen = share[share > 0]
        perplexity = float(np.exp(-(seen * np.log(seen)).sum()))
        rows.append({"codebook": k, "used": round(len(seen) / size, 4), "perplexity": round(perplexity / size, 4)})
    return rows


def drift(codec: Codec, clips: Sequence[Clip], kbps: float) -> dict[str, float]:
    """Return the share of codes that stay the same after decoding and coding again, once and five times, over all clips."""
    k = codec.config.codebooks_for(kbps)
    kept, total = dict.fromkeys(GENERATIONS, 0), 0
    for clip in clips:
        first = codes = _encode(codec, clip.audio)[:, :k]
        total += first.size
        for generation in range(1, max(GENERATIONS) + 1):
            decoded = codec.decode(torch.from_numpy(codes))[0, 0, : len(clip.audio)].numpy()
            codes = _encode(codec, decoded)[:, :k]
            if generation in kept:
                kept[generation] += int((codes == first).sum())
    return {"kbps": kbps} | {f"kept_{g}": round(n / total, 4) for g, n in kept.items()}


def _encode(codec: Codec, audio: np.ndarray) -> np.ndarray:
    """Encode float32 [N] to codes [1, K, T]."""
    return codec.encode(torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None, None]).numpy()


def markdown(model: str, used: Sequence[dict[str, float]], drifts: Sequence[dict[str, float]]) -> str:
    """Return both results as tables."""
    lines = [f"{model}: codebooks, coarse to fine", "", "| codebook | entries used | perplexity / V |", "|---:|---:|---:|"]
    lines += [f"| {row['codebook']:.0f} | {row['used']:.0%} | {row['perplexity']:.0%} |" for row in used]
    lines += [
        "",
        f"{model}: codes kept after coding the decoded audio again",
        "",
        "| kbps | once | five times |",
        "|---:|---:|---:|",
    ]
    lines += [f"| {row['kbps']:g} | {row['kept_1']:.1%} | {row['kept_5']:.1%} |" for row in drifts]
    return "\n".join(lines)
