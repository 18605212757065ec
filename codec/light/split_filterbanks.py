"""Constants of the split codec's graphs, as formulas where they are large (see filterbanks.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .graph import TYPES, Graph

FAR = 1e9  # bins: beyond every spectrum


def forward(graph: Graph, length: int, n_bins: int, gain: float, rounded: bool) -> tuple[str, str]:
    """Return the first bins of the transform of frames under a Hann window times `gain`, in float64.

    They are factors of the frames' even and odd parts: the real part [n_bins, length / 2 + 1], and the imaginary part
    [n_bins, length / 2 - 1]. With `rounded` the window is one of float32.
    """
    half = length // 2
    cosine, sine = _waves(graph, np.arange(n_bins), half)
    window = _hann(graph, half, rounded)
    if gain != 1.0:
        window = graph.Mul(window, _number(graph, gain))
    return graph.Mul(cosine, window), graph.slice(graph.Mul(graph.Neg(sine), window), 1, 1, half)


def inverse(graph: Graph, length: int, gain: float, n_bins: int) -> tuple[str, str]:
    """Return the inverse transform, under a Hann window times `gain`: factors of real and imaginary parts, in float32.

    The real parts of the first bins give the even part of a frame, [n_bins, length / 2 + 1], the imaginary parts the odd one,
    [n_bins, length / 2 - 1].
    """
    half = length // 2
    cosine, sine = _waves(graph, np.arange(n_bins), half)
    weight = np.full((n_bins, 1), 2.0 * gain / length)
    weight[0] /= 2
    weight[half:] /= 2
    window = graph.Mul(graph.constant(weight, "float64"), _hann(graph, half, rounded=False))
    even, odd = graph.Mul(cosine, window), graph.slice(graph.Mul(graph.Neg(sine), window), 1, 1, half)
    return _float32(graph, even), _float32(graph, odd)


def band_means(graph: Graph, edges: Sequence[int], n_bins: int, dtype: str, gain: float = 1.0) -> str:
    """Return the matrix [n_bins, bands] from bins to the means of bands, times `gain`. The means are rounded to float32."""
    bins = graph.constant(np.arange(n_bins)[:, None])
    starts, stops = np.array(edges[:-1]), np.array(edges[1:])
    inside = graph.And(graph.GreaterOrEqual(bins, graph.constant(starts)), graph.Less(bins, graph.constant(stops)))
    means = (np.float32(1) / (stops - starts).astype(np.float32)) * np.float32(gain)
    return graph.Mul(graph.Cast(inside, to=TYPES[dtype]), graph.constant(means, dtype))  # type: ignore[no-any-return]


def between_centres(graph: Graph, edges: Sequence[int], n_bins: int) -> str:
    """Return the matrix [bands, n_bins] in float32 from bands to bins, linear between the centres of the bands."""
    starts, stops = np.array(edges[:-1]), np.array(edges[1:])
    centres = np.concatenate([[-FAR], (starts + stops - 1) / 2, [FAR]])[:, None]
    bins = graph.constant(np.arange(n_bins, dtype=np.float64), "float64")
    gaps = graph.constant(np.diff(centres, axis=0), "float64")

    def share(value: str, first: int, last: int) -> str:
        part = graph.Div(value, graph.slice(gaps, 0, first, last))
        return graph.Clip(part, _number(graph, 0.0), _number(graph, 1.0))  # type: ignore[no-any-return]

    n = len(starts)
    rising = share(graph.Sub(bins, graph.constant(centres[:-2], "float64")), 0, n)
    falling = share(graph.Sub(graph.constant(centres[2:], "float64"), bins), 1, n + 1)
    return _float32(graph, graph.Min(rising, falling))


def _waves(graph: Graph, bins: np.ndarray, half: int) -> tuple[str, str]:
    """Return cosine and sine of bin * place, [bins, half + 1], in float64."""
    turns = graph.Mul(graph.constant(bins[:, None]), graph.constant(np.arange(half + 1)))
    turns = graph.Cast(graph.Mod(turns, graph.constant(2 * half)), to=TYPES["float64"])
    angle = graph.Mul(turns, _number(graph, math.pi / half))
    return graph.Cos(angle), graph.Sin(angle)


def _hann(graph: Graph, half: int, rounded: bool) -> str:
    """Return the first half of a Hann window and its middle, [half + 1], in float64."""
    places = graph.constant(np.arange(half + 1, dtype=np.float64) * (math.pi / half), "float64")
    window: str = graph.Mul(graph.Sub(_number(graph, 1.0), graph.Cos(places)), _number(graph, 0.5))
    return graph.Cast(_float32(graph, window), to=TYPES["float64"]) if rounded else window


def _float32(graph: Graph, value: str) -> str:
    cast: str = graph.Cast(value, to=TYPES["float32"])
    return cast


def _number(graph: Graph, value: float) -> str:
    return graph.constant(value, "float64")
