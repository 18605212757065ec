"""The last layer of a split decoder as part of a graph: levels of the core's windows, and the bands above the core."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..config import SplitConfig
from ..modules.bands import FLOOR_DB, RANGE_DB, SILENT_MARGIN_DB, band_edges
from .graph import END, Graph
from .hybrid_graphs import Network
from .split_filterbanks import band_means, between_centres, forward, inverse
from .split_parts import DECIBEL, decibels, transform
from .split_sizes import OVERLAP, hiss_bins

MAX_RAISE_DB, MAX_CUT_DB = 12.0, 15.0  # as in modules/split_decoder.py
WINDOW_POWER = 0.375 * OVERLAP


def correct(net: Network, config: SplitConfig, samples: str, targets: str) -> None:
    """Add the last layer to a graph: core samples [B, n] and targets [B, m, A] -> `wav` [B, 1, n].

    `hiss` [B or 1, m, 2 * bins] is noise of unit power for the bins above the core: real parts, then imaginary parts.
    `overlap` [B, 2, step] is what earlier windows add.
    """
    graph, n_fft = net.graph, config.core_window
    batch = graph.Shape(targets, start=0, end=1)
    real, imaginary = _corrected(net, config, _windows(net, config, samples, targets), targets)
    if config.core_factor > 1:
        n_bins, n_out = n_fft // 2, n_fft * config.core_factor
        parts = (graph.slice(part, 2, 0, n_bins) for part in (real, imaginary))
        real, imaginary = (graph.Mul(part, net.number(float(config.core_factor))) for part in parts)
        zeros = _hiss(net, config, targets)
        real, imaginary = (graph.Concat(part, noise, axis=2) for part, noise in zip((real, imaginary), zeros, strict=True))
    else:
        n_out = n_fft
    even_factor, odd_factor = inverse(graph, n_out, 1 / WINDOW_POWER, _top(config))
    even, odd = graph.MatMul(real, even_factor), graph.MatMul(imaginary, odd_factor)
    inner = graph.slice(even, 2, 1, -1)
    backwards = (graph.constant([n]) for n in (-1, -END, 2, -1))
    later = graph.Slice(graph.Sub(inner, odd), *backwards)
    first, middle = graph.slice(even, 2, 0, 1), graph.slice(even, 2, -1, END)
    frames = graph.Concat(first, graph.Add(inner, odd), middle, later, axis=2)
    _overlap_add(graph, batch, frames, n_out // OVERLAP)


def _windows(net: Network, config: SplitConfig, samples: str, targets: str) -> str:
    """Cut as many windows as there are targets: [B, m, n_fft]."""
    graph, step = net.graph, config.core_hop // config.steps
    n_steps = graph.Add(graph.Shape(targets, start=1, end=2), graph.constant([OVERLAP - 1]))
    used = graph.slice(samples, 1, 0, graph.Mul(n_steps, graph.constant([step])))
    steps = graph.reshape(used, 0, -1, step)
    parts = [graph.slice(steps, 1, i, i - OVERLAP + 1 if i < OVERLAP - 1 else END) for i in range(OVERLAP)]
    return graph.Concat(*parts, axis=2)  # type: ignore[no-any-return]


def _corrected(net: Network, config: SplitConfig, windows: str, targets: str) -> tuple[str, str]:
    """Return the real and imaginary parts of windows [B, m, n_fft], with the gains applied: [B, m, bins] each."""
    graph, n_fft = net.graph, config.core_window
    edges, n_bins = band_edges(config.level_bin_hz, config.bands, 0), config.core_window // 2 + 1
    factors = forward(graph, n_fft, n_bins, 1.0, rounded=True)
    flat = graph.reshape(windows, -1, n_fft)
    real, imaginary = transform(graph, flat, n_fft, (net.cast(factors[0]), net.cast(factors[1])))
    power = graph.Add(graph.Mul(real, real), graph.Mul(imaginary, imaginary))
    bank = band_means(graph, edges, n_bins, "float32", 1 / (n_fft / 2) ** 2)  # a Hann window's sum is half its length
    found = decibels(net, graph.MatMul(power, bank))
    flat_targets = graph.reshape(targets, -1, 2 * config.bands + config.top_bands)
    wanted, share = graph.slice(flat_targets, 1, 0, config.bands), graph.slice(flat_targets, 1, -config.bands, END)
    audible = net.cast(graph.Greater(wanted, net.number(FLOOR_DB + 1)))
    ceiling = graph.Mul(audible, net.number(MAX_RAISE_DB))
    change = graph.Min(graph.Max(graph.Sub(wanted, found), net.number(-MAX_CUT_DB)), ceiling)
    nepers = graph.Mul(graph.Mul(share, change), net.number(DECIBEL / 2))
    gain = graph.Exp(graph.MatMul(nepers, between_centres(graph, edges, n_bins)))
    batch = graph.Shape(targets, start=0, end=1)
    by_item = graph.Concat(batch, graph.constant([-1, n_bins]), axis=0)
    return graph.Reshape(graph.Mul(real, gain), by_item), graph.Reshape(graph.Mul(imaginary, gain), by_item)


def _hiss(net: Network, config: SplitConfig, targets: str) -> tuple[str, str]:
    """Return real and imaginary parts [B, m, bins] of noise in the bands above the core; zero where levels mean silence.

    There are no bins above the highest band.
    """
    graph, n_above, n_bins = net.graph, hiss_bins(config), config.core_window // 2 + 1
    noise = graph.input("hiss", "float32", ["noise_batch", "windows", 2 * n_above])
    edges = band_edges(config.level_bin_hz, config.bands, config.top_bands)[config.bands :]
    n_used = _top(config) - n_bins + 1
    bands = np.zeros((config.top_bands, n_used), np.float32)
    for row, start, stop in zip(bands, edges, edges[1:], strict=False):
        row[start - n_bins + 1 : stop - n_bins + 1] = 1.0
    gain = config.core_window * config.core_factor * math.sqrt(WINDOW_POWER / 1.5) * math.sqrt(0.5)
    every = graph.slice(targets, 2, 0, config.bands + config.top_bands)
    levels = graph.slice(every, 2, config.bands, END)
    audible = net.cast(graph.Greater(levels, silent_below(net, every)))
    amplitude = graph.Mul(graph.Exp(graph.Mul(levels, net.number(DECIBEL / 2))), graph.Mul(audible, net.number(gain)))
    scaled = graph.MatMul(amplitude, net.number(bands))
    parts = (graph.slice(noise, 2, start, start + n_used) for start in (0, n_above))
    real, imaginary = (graph.Mul(part, scaled) for part in parts)
    return real, imaginary


def silent_below(net: Network, levels: str) -> str:
    """Return the level up to which decoded levels mean silence: levels [B, m, bands] of steps -> [B, m, 1]."""
    graph = net.graph
    loudest = graph.Sub(graph.ReduceMax(levels, axes=[2]), net.number(RANGE_DB))
    return graph.Add(graph.Max(loudest, net.number(FLOOR_DB)), net.number(SILENT_MARGIN_DB))  # type: ignore[no-any-return]


def _top(config: SplitConfig) -> int:
    """Return the number of bins of the whole spectrum that are not always zero."""
    if config.core_factor == 1:
        return config.core_window // 2 + 1
    return band_edges(config.level_bin_hz, config.bands, config.top_bands)[-1]


def _overlap_add(graph: Graph, batch: str, frames: str, step: int) -> None:
    """Overlap-add frames [B, m, 3 * step] and what earlier ones add to `wav` [B, 1, m * step]."""
    before = graph.input("overlap", "float32", ["batch", OVERLAP - 1, step])
    total: Any = None
    for i in range(OVERLAP):
        part = graph.slice(frames, 2, i * step, (i + 1) * step)
        part = graph.Pad(part, graph.constant([0, i, 0, 0, OVERLAP - 1 - i, 0]))
        total = part if total is None else graph.Add(total, part)
    head = graph.Add(graph.slice(total, 1, 0, OVERLAP - 1), before)
    total = graph.Concat(head, graph.slice(total, 1, OVERLAP - 1, END), axis=1)
    after = graph.slice(total, 1, 1 - OVERLAP, END)
    graph.output("overlap.out", after, "float32", ["batch", OVERLAP - 1, step])
    wav = graph.Reshape(graph.slice(total, 1, 0, 1 - OVERLAP), graph.Concat(batch, graph.constant([1, -1]), axis=0))
    graph.output("wav", wav, "float32", ["batch", 1, "samples"])
