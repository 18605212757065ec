"""Operations that several of the split codec's graphs need."""

from __future__ import annotations

import math

from .graph import Graph
from .hybrid_graphs import Network

DECIBEL = math.log(10) / 10  # in nepers of power


def transform(graph: Graph, frames: str, length: int, factors: tuple[str, str]) -> tuple[str, str]:
    """Return the real and the imaginary part of a transform of frames [M, length], given the factors from `forward`.

    The parts of a frame that are even and odd about its middle give one part of the spectrum each: half the work.
    """
    half = length // 2
    later = graph.Slice(frames, *(graph.constant([n]) for n in (-1, half, 1, -1)))  # length - 1 down to half + 1
    first, middle = graph.slice(frames, 1, 0, 1), graph.slice(frames, 1, half, half + 1)
    inner = graph.slice(frames, 1, 1, half)
    even = graph.Concat(first, graph.Add(inner, later), middle, axis=1)
    real, imaginary = factors
    return graph.Gemm(even, real, transB=1), graph.Gemm(graph.Sub(inner, later), imaginary, transB=1)


def decibels(net: Network, power: str) -> str:
    """Return 10 log10(power + 1e-10)."""
    graph = net.graph
    found: str = graph.Mul(graph.Log(graph.Add(power, net.number(1e-10))), net.number(1 / DECIBEL))
    return found
