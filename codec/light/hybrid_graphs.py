"""The hybrid codec's encoder and decoder as graphs, with their state as inputs and outputs.

They compute what modules/hybrid.py computes. The encoder works in float64, because its tokens must be the same on every
machine, and onnxruntime has neither Conv, nor Erf, nor a real Fourier transform in float64: here a depthwise convolution is
one multiply-add per tap, the transform a matrix product, and GELU a table with a polynomial between its entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..config import HybridConfig
from ..modules.bands import free_bins
from .filterbanks import GELU_RANGE, GELU_STEPS, fine_synthesis, fourier, mdct_basis, normal_tables
from .graph import END, TYPES, Graph
from .states import first_edge

COMPAND_GAIN, MAGNITUDE_FLOOR = 3.0, 1e-8  # as in modules/hybrid.py
Weight = Callable[[Graph, str], str]  # adds a weight of the model by its name; returns its value in the graph


class Network:
    """Layers of a graph that computes in one type; weights are stored in the model's own type."""

    def __init__(self, graph: Graph, dtype: str, weight: Weight, prefix: str) -> None:
        self.graph, self.dtype = graph, dtype
        self._weight, self._prefix = weight, prefix
        self._places: str | None = None  # of the windows of all convolutions, which are equal
        self._tables: tuple[str, str] | None = None  # of GELU

    def weight(self, name: str) -> str:
        """Return a weight in the network's type."""
        return self.cast(self._weight(self.graph, f"{self._prefix}.{name}"))

    def tensor(self, name: str) -> str:
        """Return a weight of the model by its whole name, in its own type."""
        return self._weight(self.graph, name)

    def cast(self, value: str) -> str:
        """Convert a value to the network's type."""
        cast: str = self.graph.Cast(value, to=TYPES[self.dtype])
        return cast

    def number(self, value: float | NDArray[np.floating]) -> str:
        """Return a constant in the network's type."""
        return self.graph.constant(value, self.dtype)

    def linear(self, x: str, names: list[str], bias: str | None = None, scale: str | None = None) -> str:
        """Apply a linear layer whose inputs are those of the named layers, side by side: [M, sum of in] -> [M, out].

        `scale` names a gain [out] of the result.
        """
        weights = [self.weight(name) for name in names]
        joined = weights[0] if len(weights) == 1 else self.graph.Concat(*weights, axis=1)  # [out, in], as torch keeps it
        added = [self.weight(bias)] if bias else []
        if scale:
            gain = self.weight(scale)
            joined = self.graph.Mul(joined, self.graph.Unsqueeze(gain, self.graph.constant([1])))
            added = [self.graph.Mul(value, gain) for value in added]
        product: str = self.graph.Gemm(x, joined, *added, transB=1)
        return product

    def stack(self, x: str, batch: str, depth: int, width: int, kernel_size: int, past_name: str = "past") -> str:
        """Add the blocks of CausalStack: [B * T, W] -> [B * T, W], with one input and output `past_name.i` per block.

        `batch` is B, of shape [1].
        """
        graph = self.graph
        by_item = graph.Concat(batch, graph.constant([-1, width]), axis=0)  # the shape [B, T, W]
        for i in range(depth):
            past = graph.input(f"{past_name}.{i}", self.dtype, ["batch", kernel_size - 1, width])
            padded = graph.Concat(past, graph.Reshape(x, by_item), axis=1)
            name = f"stack.blocks.{i}"
            h = graph.reshape(self._convolved(padded, f"{name}.depthwise", kernel_size, width), -1, width)
            h = self.linear(self.norm(h, f"{name}.norm"), [f"{name}.up.weight"], f"{name}.up.bias")
            x = graph.Add(x, self.linear(self.gelu(h), [f"{name}.down.weight"], f"{name}.down.bias", f"{name}.scale"))
            after = graph.slice(padded, 1, 1 - kernel_size, END)
            graph.output(f"{past_name}.{i}.out", after, self.dtype, ["batch", kernel_size - 1, width])
        return x

    def _convolved(self, padded: str, name: str, kernel_size: int, width: int) -> str:
        """Depthwise convolution: [B, kernel_size - 1 + T, W] -> [B, T, W], or [B, 1, T, W]."""
        graph = self.graph
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        if self.dtype == "float32":  # onnxruntime is fast at this convolution if it is one over images
            images = graph.Transpose(graph.Unsqueeze(padded, graph.constant([1])), perm=[0, 3, 1, 2])  # [B, W, 1, T]
            kernel = graph.Unsqueeze(weight, graph.constant([2]))
            found = graph.Conv(images, kernel, bias, kernel_shape=[1, kernel_size], group=width)
            return graph.Transpose(found, perm=[0, 2, 3, 1])  # type: ignore[no-any-return]
        taps = graph.Transpose(graph.Squeeze(weight, graph.constant([1])), perm=[1, 0])
        products = graph.Mul(graph.Gather(padded, self._windows(padded, kernel_size), axis=1), taps)  # [B, T, kernel, W]
        return graph.Add(graph.ReduceSum(products, graph.constant([2]), keepdims=0), bias)  # type: ignore[no-any-return]

    def _windows(self, padded: str, kernel_size: int) -> str:
        """Return the places of the frames that each output needs: [T, kernel]."""
        if self._places is None:
            graph = self.graph
            n_frames = graph.Sub(graph.Shape(padded, start=1, end=2), graph.constant([kernel_size - 1]))
            starts = graph.Range(graph.constant(0), graph.Squeeze(n_frames), graph.constant(1))
            self._places = graph.Add(graph.Unsqueeze(starts, graph.constant([1])), graph.constant(np.arange(kernel_size)))
        return self._places

    def norm(self, x: str, name: str) -> str:
        """LayerNorm over the last axis, with torch's epsilon of 1e-5.

        The operator's epsilon is a float32. In float64 its difference from 1e-5 matters, so the input is scaled by the square
        root of their ratio instead, which gives the same result.
        """
        if self.dtype == "float64":
            x = self.graph.Mul(x, self.number(math.sqrt(float(np.float32(1e-5)) / 1e-5)))
        normalized: str = self.graph.LayerNormalization(
            x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), epsilon=1e-5
        )
        return normalized

    def gelu(self, x: str) -> str:
        """x times the normal distribution function at x."""
        graph = self.graph
        if self.dtype != "float64":  # in the order that onnxruntime recognizes and computes in one pass
            below = graph.Add(graph.Erf(graph.Div(x, self.number(math.sqrt(2)))), self.number(1.0))
            return graph.Mul(graph.Mul(x, below), self.number(0.5))  # type: ignore[no-any-return]
        # At the nearest entry x0 of a table, with h = x - x0 and the density p(x0):
        # P(x) = P(x0) + p(x0) h (1 - x0 h / 2 + (x0^2 - 1) h^2 / 6), to 2e-14 because |h| < 1/1024.
        inside = graph.Clip(x, self.number(-GELU_RANGE), self.number(GELU_RANGE))
        place = graph.Round(graph.Mul(inside, self.number(GELU_STEPS)))
        tables = self._tables = self._tables or normal_tables(graph)
        index = graph.Cast(graph.Add(place, self.number(GELU_RANGE * GELU_STEPS)), to=TYPES["int64"])
        table, density = (graph.Gather(values, index) for values in tables)
        x0 = graph.Mul(place, self.number(1 / GELU_STEPS))
        h = graph.Sub(inside, x0)
        product = graph.Mul(x0, h)
        square = graph.Mul(graph.Sub(graph.Mul(product, product), graph.Mul(h, h)), self.number(1 / 6))
        series = graph.Sub(graph.Add(h, graph.Mul(square, h)), graph.Mul(graph.Mul(product, h), self.number(0.5)))
        return graph.Mul(x, graph.Add(table, graph.Mul(density, series)))  # type: ignore[no-any-return]


def encoder_graph(config: HybridConfig, dimension: int, weight: Weight) -> Graph:
    """Return the encoder: samples [B, 1, N] and the state -> latents [B, T, D] in float64, and the next state.

    T is as many frames as the samples complete, at least one. The first state is silence: `samples` [B, (window - hop) / 2]
    and every `past.i` are zeros. At the end of a signal, its last frame is completed with zeros, and (window - hop) / 2 more
    are appended.
    """
    graph = Graph("encoder")
    net = Network(graph, "float64", weight, "encoder")
    window, hop = config.encoder_window * config.hop_length, config.hop_length
    context = (window - hop) // 2
    rows = cut_frames(graph, hop, config.encoder_window)  # [B, T, window]
    batch = graph.Shape(rows, start=0, end=1)
    frames = net.cast(graph.reshape(rows, -1, window))
    h = net.linear(_features(net, config, frames, context), _feature_weights(config), "level.bias")
    h = net.stack(h, batch, config.encoder_depth, config.encoder_width, config.kernel_size)
    start = context - hop // 2
    middle = frames if window == 2 * hop else graph.slice(frames, 1, start, start + 2 * hop)
    low = graph.Gemm(middle, net.cast(mdct_basis(graph, hop, config.low_bins)), transB=1)
    root = graph.Sqrt(graph.Add(graph.Abs(low), net.number(MAGNITUDE_FLOOR)))
    low = graph.Mul(graph.Mul(graph.Sign(low), root), net.number(COMPAND_GAIN))
    z = net.linear(graph.Concat(h, low, axis=1), ["out.weight", "skip.weight"], "out.bias")
    by_item = graph.Concat(batch, graph.constant([-1, dimension]), axis=0)
    graph.output("latents", graph.Reshape(z, by_item), "float64", ["batch", "frames", dimension])
    return graph


def _feature_weights(config: HybridConfig) -> list[str]:
    names = ["real.weight", "imaginary.weight", "level.weight"]
    return [*names, "fine_level.weight"] if config.fine_blocks else names


def cut_frames(graph: Graph, hop: int, width: int) -> str:
    """Cut the samples of the state and the new ones into windows [B, T, width * hop], and give back those that are left."""
    wav = graph.input("wav", "float32", ["batch", 1, "samples"])
    before = graph.input("samples", "float32", ["batch", "kept"])
    samples = graph.Concat(before, graph.Squeeze(wav, graph.constant([1])), axis=1)
    n_samples = graph.Shape(samples, start=1, end=2)
    n_hops = graph.Div(n_samples, graph.constant([hop]))  # T + width - 1
    used = graph.Mul(n_hops, graph.constant([hop]))
    hops = graph.reshape(graph.slice(samples, 1, 0, used), 0, -1, hop)
    rest = graph.Sub(used, graph.constant([(width - 1) * hop]))
    graph.output("samples.out", graph.slice(samples, 1, rest, END), "float32", ["batch", "kept_out"])
    parts = [graph.slice(hops, 1, i, i - width + 1 if i < width - 1 else END) for i in range(width)]
    frames: str = graph.Concat(*parts, axis=2)
    return frames


def _features(net: Network, config: HybridConfig, frames: str, context: int) -> str:
    """Compressed spectrum (real, imaginary), log levels, and those of short windows: [M, window] -> [M, F]."""
    graph = net.graph
    real, imaginary = _spectrum(net, frames, config.encoder_window * config.hop_length)
    power = log_power(net, real, imaginary)
    scale = graph.Exp(graph.Mul(power, net.number(-0.35)))
    levels = [power]
    if config.fine_blocks:
        short = config.hop_length // config.fine_blocks
        start = context - short // 2
        middle = graph.slice(frames, 1, start, start + config.hop_length + short)
        tiles = graph.reshape(middle, 0, config.fine_blocks + 1, short)
        blocks = graph.Concat(graph.slice(tiles, 1, 0, -1), graph.slice(tiles, 1, 1, END), axis=2)
        fine = log_power(net, *_spectrum(net, graph.reshape(blocks, -1, 2 * short), 2 * short))
        levels.append(graph.reshape(fine, -1, config.fine_blocks * (short + 1)))
    level = graph.Mul(graph.Concat(*levels, axis=1), net.number(0.3))
    features: str = graph.Concat(graph.Mul(real, scale), graph.Mul(imaginary, scale), level, axis=1)
    return features


def _spectrum(net: Network, frames: str, length: int) -> tuple[str, str]:
    """Return the real and the imaginary part of the Fourier transform of windowed frames: [M, length] -> [M, bins] each.

    The parts of a frame that are even and odd about its middle give one part of the spectrum each: half the work.
    """
    graph, half = net.graph, length // 2
    later = graph.Slice(frames, *(graph.constant([n]) for n in (-1, half, 1, -1)))  # length - 1 down to half + 1
    first, last = graph.slice(frames, 1, 0, 1), graph.slice(frames, 1, half, half + 1)
    inner = graph.slice(frames, 1, 1, half)
    even, odd = graph.Concat(first, graph.Add(inner, later), last, axis=1), graph.Sub(inner, later)
    real, imaginary = fourier(graph, length)
    return graph.Gemm(even, real, transB=1), graph.Gemm(odd, imaginary, transB=1)


def log_power(net: Network, real: str, imaginary: str) -> str:
    graph = net.graph
    power = graph.Add(graph.Mul(real, real), graph.Mul(imaginary, imaginary))
    found: str = graph.Log(graph.Add(power, net.number(MAGNITUDE_FLOOR)))
    return found


def decoder_graph(config: HybridConfig, dimension: int, weight: Weight) -> Graph:
    """Return the decoder: latents [B, T, D] and the state -> samples [B, 1, n * hop] in float32, and the next state.

    n is T, or T - 1 at the start of a stream that looks one frame ahead. The first state is silence (zeros) with
    `held` [B, 0, D] and `edge` as `first_edge` gives it. The first hop / 2 samples of a stream come before its signal and are
    dropped. At the end of a signal a frame of zeros is decoded if the decoder looks ahead, and `rest` [B, 1, hop / 2] follows.
    With random signs there is one more input: `noise` [B or 1, n, bins of long and short blocks], of stream 0 of the hash.
    """
    graph, hop = Graph("decoder"), config.hop_length
    net = Network(graph, "float32", weight, "decoder")
    z = graph.input("latents", "float32", ["batch", "frames", dimension])
    batch = graph.Shape(z, start=0, end=1)
    parts = [z]
    if config.lookahead:
        held = graph.input("held", "float32", ["batch", "n_held", dimension])
        known = graph.Concat(held, z, axis=1)
        graph.output("held.out", graph.slice(known, 1, -1, END), "float32", ["batch", 1, dimension])
        parts = [graph.slice(known, 1, 0, -1), graph.slice(known, 1, 1, END)]
    z, *ahead = (graph.reshape(part, -1, dimension) for part in parts)
    values = net.linear(z, ["skip.weight"])
    low = graph.Mul(graph.Mul(values, graph.Abs(values)), net.number(COMPAND_GAIN**-2))
    log_low = graph.Mul(graph.Log(graph.Add(graph.Abs(low), net.number(1e-4))), net.number(0.2))
    h = net.linear(graph.Concat(z, *ahead, log_low, axis=1), ["inp.weight"], "inp.bias")
    h = net.stack(h, batch, config.decoder_depth, config.decoder_width, config.kernel_size)
    h = net.linear(net.norm(h, "norm"), ["out.weight"], "out.bias")
    long, fine = _coefficients(net, config, (batch, h, low))
    waves = graph.MatMul(long, mdct_basis(graph, hop))
    both = waves
    if fine is not None:
        both = graph.Add(waves, fine_synthesis(graph, fine, hop, config.fine_blocks))
    by_item = graph.Concat(batch, graph.constant([-1, 2 * hop]), axis=0)
    _overlap_add(net, graph.Reshape(waves, by_item), graph.Reshape(both, by_item), hop)
    return graph


def _coefficients(net: Network, config: HybridConfig, values: tuple[str, str, str]) -> tuple[str, str | None]:
    """Return MDCT coefficients of the long and of the short blocks: [M, hop] each.

    `values` are the batch size, the network's output [M, W] and decoded bins [M, low_bins].
    """
    graph, hop, fine = net.graph, config.hop_length, config.hop_length if config.fine_blocks else 0
    batch, h, low = values
    widths = [hop, hop, config.low_bins] + ([fine, fine] if fine else [])
    level, shape, gate, *short = graph.Split(h, graph.constant(widths), axis=1, n_outputs=len(widths))

    def scaled(level: str, shape: str, offset: float) -> str:
        limited = graph.Add(graph.Min(level, net.number(5.0)), net.number(-offset))
        return graph.Mul(graph.Exp(limited), graph.Tanh(shape))  # type: ignore[no-any-return]

    gain = graph.Mul(graph.Sigmoid(graph.Add(gate, net.number(2.0))), net.number(1.2))
    bins, blocks = scaled(level, shape, 3.0), scaled(short[0], short[1], 4.0) if short else None
    if config.random_sign_bin:
        bins, blocks = _signed(net, config, batch, bins, blocks)
    mixed = graph.Add(graph.slice(bins, 1, 0, config.low_bins), graph.Mul(low, gain))
    long = graph.Concat(mixed, graph.slice(bins, 1, config.low_bins, END), axis=1)
    return long, blocks


def _signed(net: Network, config: HybridConfig, batch: str, bins: str, blocks: str | None) -> tuple[str, str | None]:
    """Give long and short blocks [M, hop] the signs of the noise, where the configuration says so. `batch` is B."""
    graph, hop = net.graph, config.hop_length
    free = free_bins(config.random_sign_bin, hop, config.fine_blocks)
    noise = graph.input("noise", "float32", ["noise_batch", "noise_frames", len(free)])
    turned = graph.And(graph.Less(noise, net.number(0.0)), graph.constant(free, "bool"))
    sign = graph.Where(turned, net.number(-1.0), net.number(1.0))
    by_item = graph.Concat(batch, graph.constant([-1, hop]), axis=0)

    def signed(value: str, start: int) -> str:
        own = graph.slice(sign, 2, start, start + hop)
        return graph.reshape(graph.Mul(graph.Reshape(value, by_item), own), -1, hop)

    return signed(bins, 0), None if blocks is None else signed(blocks, hop)


def _overlap_add(net: Network, waves: str, both: str, hop: int) -> None:
    """Overlap-add windows [B, T, 2 * hop], `waves` of the long blocks and `both` of all.

    Treats the edges of the signal, where a long window has no neighbour to overlap with.
    """
    graph, half, one = net.graph, hop // 2, net.graph.constant([1])
    tail = graph.input("tail", "float32", ["batch", hop])
    edge = graph.input("edge", "float32", ["batch", hop])
    first_row = graph.slice(graph.slice(waves, 1, 0, 1), 2, 0, hop)
    tail_row = graph.Add(graph.Unsqueeze(tail, one), graph.Mul(first_row, graph.Unsqueeze(edge, one)))
    second = graph.slice(both, 2, hop, END)
    shifted = graph.Concat(tail_row, graph.slice(second, 1, 0, -1), axis=1)
    wav = graph.reshape(graph.Add(graph.slice(both, 2, 0, hop), shifted), 0, 1, -1)
    graph.output("wav", wav, "float32", ["batch", 1, "samples"])
    last = graph.slice(second, 1, -1, END)
    graph.output("tail.out", graph.Squeeze(last, graph.constant([1])), "float32", ["batch", hop])
    graph.output("edge.out", graph.Mul(edge, net.number(0.0)), "float32", ["batch", hop])
    last_long = graph.slice(graph.slice(waves, 1, -1, END), 2, hop, hop + half)
    flipped = np.ascontiguousarray(first_edge(hop)[half:][::-1])
    rest = graph.Add(graph.slice(last, 2, 0, half), graph.Mul(last_long, net.number(flipped)))
    graph.output("rest", rest, "float32", ["batch", 1, half])
