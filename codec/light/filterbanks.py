"""Constants of the hybrid codec's graphs, written as formulas: onnxruntime computes them once, when it loads a graph.

As numbers they would be larger than a tenth of the model.
"""

from __future__ import annotations

import math

import numpy as np

from .graph import TYPES, Graph

GELU_STEPS, GELU_RANGE = 512, 9  # table entries per unit, and the argument from which GELU(x) is x or 0


def mdct_basis(graph: Graph, hop: int, n_bins: int | None = None, gain: float = 1.0) -> str:
    """Return the first `n_bins` rows of the windowed cosine basis [hop, 2 * hop] in float32 (modules/spectral.py)."""
    n = graph.Range(*_numbers(graph, 0.5, 2 * hop, 1.0))
    k = graph.Unsqueeze(graph.Range(*_numbers(graph, 0.5, n_bins or hop, 1.0)), graph.constant([1]))
    phase = graph.Mul(graph.Add(n, _number(graph, hop / 2)), _number(graph, math.pi / hop))
    window = graph.Mul(graph.Sin(graph.Mul(n, _number(graph, math.pi / (2 * hop)))), _number(graph, gain * math.sqrt(2 / hop)))
    basis: str = graph.Cast(graph.Mul(graph.Cos(graph.Mul(phase, k)), window), to=TYPES["float32"])
    return basis


def fine_synthesis(graph: Graph, fine: str, hop: int, n_blocks: int) -> str:
    """Return the windows [M, 2 * hop] of frames' short blocks [M, hop] (`fine_basis` in modules/spectral.py)."""
    short = hop // n_blocks
    halves = graph.MatMul(graph.reshape(fine, -1, n_blocks, short), mdct_basis(graph, short))  # [M, blocks, 2 * short]
    parts = [graph.reshape(graph.slice(halves, 2, i * short, (i + 1) * short), -1, hop) for i in range(2)]
    around = hop // 2 - short // 2
    padded = [
        graph.Pad(part, graph.constant([0, around + i * short, 0, hop - around - i * short])) for i, part in enumerate(parts)
    ]
    windows: str = graph.Add(*padded)
    return windows


def fourier(graph: Graph, length: int) -> tuple[str, str]:
    """Return the transform of frames under a Hann window, as factors of their even and odd parts, in float64.

    Real part [bins, length / 2 + 1] and imaginary part [bins, length / 2 - 1].
    """
    half = length // 2
    k = graph.constant(np.arange(half + 1)[:, None])
    n = graph.constant(np.arange(half + 1))
    turns = graph.Cast(graph.Mod(graph.Mul(k, n), graph.constant(length)), to=TYPES["float64"])
    angle = graph.Mul(turns, _number(graph, 2 * math.pi / length))
    once = graph.Mul(graph.Cast(n, to=TYPES["float64"]), _number(graph, 2 * math.pi / length))
    hann = graph.Mul(graph.Sub(_number(graph, 1.0), graph.Cos(once)), _number(graph, 0.5))
    window = graph.Cast(graph.Cast(hann, to=TYPES["float32"]), to=TYPES["float64"])  # as the network knows it
    imaginary = graph.Mul(graph.Neg(graph.Sin(angle)), window)
    return graph.Mul(graph.Cos(angle), window), graph.slice(imaginary, 1, 1, half)


def normal_tables(graph: Graph) -> tuple[str, str]:
    """Return the normal distribution function and its density at the places of the GELU table, in float64."""
    n_entries = GELU_RANGE * GELU_STEPS
    above = np.array([1 - 0.5 * math.erfc(i / GELU_STEPS * math.sqrt(0.5)) for i in range(n_entries + 1)])
    upper = graph.constant(above, "float64")
    backwards = (graph.constant([n]) for n in (-1, 0, 0, -1))
    lower = graph.Sub(_number(graph, 1.0), graph.Slice(upper, *backwards))
    x = graph.Mul(graph.Range(*_numbers(graph, -n_entries, n_entries + 1, 1.0)), _number(graph, 1 / GELU_STEPS))
    bell = graph.Exp(graph.Mul(graph.Mul(x, x), _number(graph, -0.5)))
    return graph.Concat(lower, upper, axis=0), graph.Mul(bell, _number(graph, (2 * math.pi) ** -0.5))


def _number(graph: Graph, value: float) -> str:
    return graph.constant(value, "float64")


def _numbers(graph: Graph, *values: float) -> list[str]:
    return [_number(graph, value) for value in values]
