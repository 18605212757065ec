"""The split codec's graphs: levels, encoder, decoder, and the end of a signal. State goes in and comes out.

They compute what modules/split_encoder.py and split_decoder.py compute. The search for the codes of levels lies between the
first two graphs, and noise is an input of the others: each depends on integers that no graph needs to know.
"""

from __future__ import annotations

import math

import numpy as np

from ..config import SplitConfig
from ..modules.bands import FLOOR_DB, RANGE_DB, band_edges, between_points, free_bins, treble_raise
from .filterbanks import fine_synthesis, mdct_basis
from .graph import END, Graph
from .hybrid_graphs import Network, Weight, cut_frames, log_power
from .split_filterbanks import band_means, forward
from .split_layer import correct, silent_below
from .split_parts import DECIBEL, decibels, transform
from .split_sizes import bands_of_bins, level_weight, reference_amplitude, unfinished_windows

SHAPE_GAIN = 2.0  # as in modules/split_encoder.py
HISS_BINS, MOST_GAIN = 8, 2.5  # as in modules/split_decoder.py


def levels_graph(config: SplitConfig) -> Graph:
    """Return the measurement of levels: samples [B, 1, N] and those kept -> levels [B, T, F] in dB, in float64.

    T is as many frames as the samples complete, at least one. The first `samples` are [B, hop / 2] zeros.
    """
    graph, hop = Graph("levels"), config.hop_length
    net = Network(graph, "float64", _no_weights, "")
    step, bands = hop // config.steps, config.bands + config.top_bands
    rows = cut_frames(graph, hop, 2)  # [B, T, 2 * hop]
    batch = graph.Shape(rows, start=0, end=1)
    frames, start = net.cast(graph.reshape(rows, -1, 2 * hop)), hop // 2 - step
    cuts = [graph.slice(frames, 1, start + i * step, start + (i + 3) * step) for i in range(config.steps)]
    blocks = graph.reshape(graph.Concat(*cuts, axis=1), -1, 3 * step)
    window_sum = 1.5 * step  # of a Hann window of three steps
    factors = forward(graph, 3 * step, 3 * step // 2 + 1, 1 / window_sum, rounded=False)
    real, imaginary = transform(graph, blocks, 3 * step, factors)
    power = graph.Add(graph.Mul(real, real), graph.Mul(imaginary, imaginary))
    edges = band_edges(config.core_rate * config.core_factor / (3 * step), config.bands, config.top_bands)
    means = graph.MatMul(power, band_means(graph, edges, 3 * step // 2 + 1, "float64"))
    levels = graph.reshape(decibels(net, means), -1, config.steps * bands)
    loudest = graph.Sub(graph.ReduceMax(levels, axes=[1]), net.number(RANGE_DB))
    levels = graph.reshape(graph.Max(levels, net.number(FLOOR_DB), loudest), -1, config.steps, bands)
    slow = graph.slice(levels, 2, 0, config.slow_bands)
    slow = graph.Add(graph.Mul(slow, net.number(0.0)), graph.ReduceMean(slow, axes=[1]))
    levels = graph.Concat(slow, graph.slice(levels, 2, config.slow_bands, END), axis=2)
    by_item = graph.Concat(batch, graph.constant([-1, config.n_levels]), axis=0)
    graph.output("levels", graph.Reshape(levels, by_item), "float64", ["batch", "frames", config.n_levels])
    return graph


def encoder_graph(config: SplitConfig, dimension: int, weight: Weight) -> Graph:
    """Return the encoder of shapes: samples as in `levels_graph`, levels [B, T, F], and `base` -> latents [B, T, D].

    `base` are the levels as the first codebook decodes them. Levels and latents are in float64. Every first `past.i` is zeros.
    """
    graph, hop = Graph("encoder"), config.hop_length
    net = Network(graph, "float64", weight, "encoder")
    rows = cut_frames(graph, hop, 2)
    batch = graph.Shape(rows, start=0, end=1)
    shape: list[int | str] = ["batch", "frames", config.n_levels]
    exact, base = (graph.reshape(graph.input(n, "float64", shape), -1, config.n_levels) for n in ("levels", "base"))
    frames = net.cast(graph.reshape(rows, -1, 2 * hop))
    n_bins = hop // config.core_factor + 1
    factors = forward(graph, 2 * hop, n_bins, 1 / config.core_factor, rounded=True)
    real, imaginary = transform(graph, frames, 2 * hop, factors)
    power = log_power(net, real, imaginary)
    scale = graph.Exp(graph.Mul(power, net.number(-0.35)))
    inputs = graph.Mul(power, net.number(0.3)), graph.Mul(real, scale), graph.Mul(imaginary, scale)
    known = graph.Concat(*inputs, level_features(net, exact), level_features(net, base), axis=1)
    names = [f"{name}.weight" for name in ("level", "real", "imaginary", "exact_levels", "coded_levels")]
    h = net.linear(known, names, "level.bias")
    h = net.stack(h, batch, config.encoder_depth, config.encoder_width, config.kernel_size)
    basis = mdct_basis(graph, hop, config.low_bins, 1 / math.sqrt(config.core_factor))
    low = graph.Gemm(frames, net.cast(basis), transB=1)
    gain = graph.Mul(long_envelope(net, config, base, config.exponent - 1, config.low_bins), net.number(SHAPE_GAIN))
    z = net.linear(graph.Concat(h, graph.Mul(low, gain), axis=1), ["out.weight", "skip.weight"], "out.bias")
    by_item = graph.Concat(batch, graph.constant([-1, dimension]), axis=0)
    graph.output("latents", graph.Reshape(z, by_item), "float64", ["batch", "frames", dimension])
    return graph


def decoder_graph(config: SplitConfig, dimension: int, weight: Weight) -> Graph:
    """Return the decoder: latents [B, T, D + L * F + 2], noise and the state -> samples [B, 1, T * hop], in float32.

    `noise` is [B or 1, T, 2 * core_hop], of stream 0 of the hash, for these frames. `hiss` is described in split_layer.py.
    The first state is zeros, except that `first` [B, 1] is one, and `targets` are FLOOR_DB where they are levels.
    """
    graph = Graph("decoder")
    net = Network(graph, "float32", weight, "decoder")
    n_books, hop, depth = len(config.level_places), config.core_hop, config.decoder_depth
    z = graph.input("latents", "float32", ["batch", "frames", dimension + n_books * config.n_levels + 2])
    noise = graph.input("noise", "float32", ["noise_batch", "frames", 2 * hop])
    batch = graph.Shape(z, start=0, end=1)
    parts = graph.Split(z, graph.constant([dimension, n_books * config.n_levels, 2]), axis=2, n_outputs=3)
    levels, base = decoded_levels(net, config, parts[1])
    shape, flags = graph.reshape(parts[0], -1, dimension), graph.reshape(parts[2], -1, 2)
    low = graph.Mul(net.linear(shape, ["skip.weight"]), net.number(1 / SHAPE_GAIN))
    low = graph.Mul(low, long_envelope(net, config, base, 1 - config.exponent, config.low_bins))
    loudness = graph.Mul(graph.Log(graph.Add(graph.Abs(low), net.number(1e-4))), net.number(0.2))
    features = level_features(net, levels), level_features(net, base)
    h = net.linear(graph.Concat(shape, loudness, *features, flags, axis=1), ["inp.weight"], "inp.bias")
    h = net.stack(h, batch, depth, config.decoder_width, config.kernel_size)
    h = net.norm(h, "norm")
    gains = graph.Tanh(net.linear(h, ["gain.out.weight"], "gain.out.bias")) if config.gain_points else None
    h = net.linear(h, ["out.weight"], "out.bias")
    long, fine, share = _coefficients(net, config, (batch, h, low, levels), noise)
    core = _core(net, config, (batch, long, fine), gains)
    n = config.bands + config.top_bands
    steps = graph.Concat(batch, graph.constant([-1, config.steps, n]), axis=0)
    targets = graph.Concat(graph.Reshape(_raised(net, config, levels, flags), steps), share, axis=3)
    targets = graph.Reshape(targets, graph.Concat(batch, graph.constant([-1, n + config.bands]), axis=0))
    _last_layer(net, config, core, targets)
    return graph


def end_graph(config: SplitConfig) -> Graph:
    """Return the end of a signal: a decoder's state -> the samples [B, 1, n] that follow its last ones, in float32.

    `ending` [B, core_hop / 2] is an output of the decoder. There are as many samples as were dropped at the start.
    """
    graph = Graph("end")
    net = Network(graph, "float32", _no_weights, "")
    step, n_kept = config.core_hop // config.steps, unfinished_windows(config) + 1
    ending = graph.input("ending", "float32", ["batch", config.core_hop // 2])
    samples = graph.input("samples", "float32", ["batch", (n_kept + 1) * step - config.core_hop // 2])
    targets = graph.input("targets", "float32", ["batch", n_kept, 2 * config.bands + config.top_bands])
    samples = graph.Pad(graph.Concat(samples, ending, axis=1), graph.constant([0, 0, 0, 2 * step]))
    correct(net, config, samples, graph.Concat(targets, graph.slice(targets, 1, -1, END), axis=1))
    return graph


def level_features(net: Network, levels: str) -> str:
    """Scale levels in dB to about unit size."""
    graph = net.graph
    return graph.Mul(graph.Add(levels, net.number(60.0)), net.number(1 / 20))  # type: ignore[no-any-return]


def long_envelope(net: Network, config: SplitConfig, levels: str, exponent: float, n_bins: int) -> str:
    """Return the amplitude of each MDCT bin of a frame, to the power of `exponent`: [M, F] -> [M, n_bins]."""
    graph = net.graph
    core = graph.slice(graph.reshape(levels, -1, config.steps, config.bands + config.top_bands), 2, 0, config.bands)
    power = graph.ReduceMean(graph.Exp(graph.Mul(core, net.number(DECIBEL))), axes=[1], keepdims=0)
    amplitude = graph.Mul(graph.Sqrt(power), net.number(reference_amplitude(config)))
    if exponent != 1.0:
        amplitude = graph.Pow(amplitude, net.number(exponent))
    return spread(net, amplitude, bands_of_bins(config, config.core_hop)[:n_bins], config.bands)


def fine_envelope(net: Network, config: SplitConfig, levels: str) -> str:
    """Return the amplitude of each bin of the short blocks: [M, F] -> [M, core_hop]."""
    graph, n = net.graph, config.bands + config.top_bands
    amplitude = graph.Mul(graph.Exp(graph.Mul(levels, net.number(DECIBEL / 2))), net.number(reference_amplitude(config)))
    steps = np.arange(config.fine_blocks) // (config.fine_blocks // config.steps)
    places = steps[:, None] * n + bands_of_bins(config, config.core_hop // config.fine_blocks)
    return spread(net, amplitude, places.ravel(), config.n_levels)


def spread(net: Network, values: str, places: np.ndarray, n_values: int) -> str:
    """Return values [M, n_values] at places [n]: [M, n]. A product with ones and zeros, which is faster than Gather."""
    graph = net.graph
    chosen = graph.Equal(graph.constant(places), graph.constant(np.arange(n_values)[:, None]))
    return graph.MatMul(values, net.cast(chosen))  # type: ignore[no-any-return]


def decoded_levels(net: Network, config: SplitConfig, entries: str) -> tuple[str, str]:
    """Return the levels of all codebooks and of the first one, in dB [M, F], of entries [B, T, L * F]; keeps their past."""
    graph, n_books, n_taps, n = net.graph, len(config.level_places), config.level_taps, config.n_levels
    past = graph.input("entries", "float32", ["batch", n_taps, n_books * n])
    known = graph.Concat(past, entries, axis=1)
    graph.output("entries.out", graph.slice(known, 1, -n_taps, END), "float32", ["batch", n_taps, n_books * n])
    by_book = graph.Transpose(graph.reshape(known, 0, 0, n_books, n), perm=[2, 0, 1, 3])  # [L, B, n_taps + T, F]
    before = [graph.slice(by_book, 2, n_taps - i, -i) for i in range(1, n_taps + 1)]
    joined = graph.reshape(graph.Concat(*before, axis=3), n_books, -1, n_taps * n)
    taps = graph.Transpose(net.cast(net.tensor("quantizer.levels.taps")), perm=[0, 1, 3, 2])  # [L, n_taps, F in, F out]
    predicted = graph.MatMul(joined, graph.reshape(taps, n_books, n_taps * n, n))
    own = graph.reshape(graph.slice(by_book, 2, n_taps, END), n_books, -1, n)
    parts = graph.Div(graph.Add(own, predicted), net.number(level_weight(config)))
    mean = net.cast(net.tensor("quantizer.levels.mean"))
    base = graph.Add(graph.Squeeze(graph.slice(parts, 0, 0, 1), graph.constant([0])), mean)
    levels = graph.Add(graph.ReduceSum(parts, graph.constant([0]), keepdims=0), mean)
    return levels, base


def _coefficients(net: Network, config: SplitConfig, values: tuple[str, str, str, str], noise: str) -> tuple[str, str, str]:
    """Return coefficients of long and of short blocks [B, T, hop], and shares [B, T, steps, bands].

    `values` are the batch size, the network's output [M, W], decoded bins [M, low_bins] and levels [M, F].
    """
    graph, hop, n_low = net.graph, config.core_hop, config.low_bins
    batch, h, low, levels = values

    def by_item(value: str, *shape: int) -> str:
        return graph.Reshape(value, graph.Concat(batch, graph.constant([-1, *shape]), axis=0))  # type: ignore[no-any-return]

    n_gains = hop // HISS_BINS
    widths = [hop, hop, n_gains, n_low, hop, hop, n_gains, config.steps * config.bands]
    parts = graph.Split(h, graph.constant(widths), axis=1, n_outputs=len(widths))
    level, shape, hiss, gate, fine_level, fine_shape, fine_hiss, share = parts
    places = np.arange(hop) // HISS_BINS

    def block(level: str, shape: str, hiss: str, number: int, offset: float) -> str:
        tones = graph.Mul(_limited(net, level, 2.5, offset), graph.Tanh(shape))
        gain = spread(net, _limited(net, hiss, 1.5, 1.5), places, n_gains)
        own = graph.slice(noise, 2, number * hop, (number + 1) * hop)
        tones = by_item(tones, hop)
        if config.random_sign_bin:
            free = free_bins(config.random_sign_bin, hop, config.fine_blocks)[number * hop : (number + 1) * hop]
            turned = graph.And(graph.Less(own, net.number(0.0)), graph.constant(free, "bool"))
            tones = graph.Where(turned, graph.Neg(tones), tones)
        return graph.Add(tones, graph.Mul(by_item(gain, hop), own))  # type: ignore[no-any-return]

    bins = graph.Mul(block(level, shape, hiss, 0, 1.0), by_item(long_envelope(net, config, levels, 1.0, hop), hop))
    fine = block(fine_level, fine_shape, fine_hiss, 1, 2.0)
    fine = graph.Mul(fine, by_item(fine_envelope(net, config, levels), hop))
    gain = graph.Mul(graph.Sigmoid(graph.Add(gate, net.number(2.0))), net.number(1.2))
    mixed = graph.Add(graph.slice(bins, 2, 0, n_low), by_item(graph.Mul(low, gain), n_low))
    long = graph.Concat(mixed, graph.slice(bins, 2, n_low, END), axis=2)
    share = graph.Mul(graph.Sigmoid(share), net.number(1.0 if config.corrects else 0.0))
    return long, fine, by_item(share, config.steps, config.bands)


def _raised(net: Network, config: SplitConfig, levels: str, flags: str) -> str:
    """Return levels [M, F] with audible treble raised, by the number of level codebooks in flags [M, 2]: [M, steps, bands]."""
    graph, n = net.graph, config.bands + config.top_bands
    levels = graph.reshape(levels, -1, config.steps, n)
    if not config.treble_db:
        return levels
    count = graph.Round(graph.Mul(graph.slice(flags, 1, 0, 1), net.number(float(len(config.level_places)))))
    chosen = net.cast(graph.Equal(count, net.number(np.arange(len(config.treble_db) + 1, dtype=np.float32))))
    table = treble_raise(config.treble_db, config.level_bin_hz, config.bands, config.top_bands)
    more = graph.Unsqueeze(graph.MatMul(chosen, net.number(table)), graph.constant([1]))  # [M, 1, bands]
    return graph.Where(graph.Greater(levels, silent_below(net, levels)), graph.Add(levels, more), levels)  # type: ignore[no-any-return]


def _limited(net: Network, value: str, most: float, offset: float) -> str:
    graph = net.graph
    return graph.Exp(graph.Sub(graph.Min(value, net.number(most)), net.number(offset)))  # type: ignore[no-any-return]


def _core(net: Network, config: SplitConfig, values: tuple[str, str, str], gains: str | None) -> str:
    """Return the samples [B, T * hop] of long and of short blocks [B, T, hop]; treats the signal's edges.

    `values` are the batch size and the blocks, `gains` [M, G * points] the share of MOST_GAIN of the gains over time.
    The first half hop of a stream comes before its signal, and is silent.
    """
    graph, hop, half = net.graph, config.core_hop, config.core_hop // 2
    batch, long, fine = values
    groups, basis, one = config.gain_groups, mdct_basis(graph, hop), graph.constant([1])
    first, tail = graph.input("first", "float32", ["batch", 1]), graph.input("tail", "float32", ["batch", len(groups) + 1, hop])
    missing = (1 / np.sin(math.pi / (2 * hop) * (np.arange(half, hop) + 0.5)).astype(np.float32) ** 2 - 1).astype(np.float32)
    short = fine_synthesis(graph, graph.reshape(fine, -1, hop), hop, config.fine_blocks)
    windows = [graph.Reshape(short, graph.Concat(batch, graph.constant([-1, 2 * hop]), axis=0))]
    windows += [graph.MatMul(graph.slice(long, 2, *group), graph.slice(basis, 0, *group)) for group in groups]
    together = graph.Concat(*(graph.Unsqueeze(window, graph.constant([2])) for window in windows), axis=2)
    lack = np.concatenate([np.zeros((1, half)), np.tile(missing, (len(groups), 1))]).astype(np.float32)  # none for short blocks
    samples, rest = _overlapped(net, together, tail, first, lack)
    if gains:
        curve, last_gain = _gain_curve(net, config, batch, gains)
        samples, rest = _with_gains(net, samples, curve), _with_gains(net, rest, graph.Exp(last_gain))
    else:
        samples, rest = (graph.ReduceSum(value, graph.constant([2]), keepdims=0) for value in (samples, rest))
    graph.output("first.out", graph.Mul(first, net.number(0.0)), "float32", ["batch", 1])
    graph.output("ending", graph.Squeeze(rest, one), "float32", ["batch", half])
    return graph.reshape(samples, 0, -1)


def _with_gains(net: Network, values: str, gains: str) -> str:
    """Add up values [B, T, 1 + G, n] of short blocks and of G groups of long ones, which have gains [B, T, G, n]: [B, T, n]."""
    graph, two = net.graph, net.graph.constant([2])
    long = graph.ReduceSum(graph.Mul(graph.slice(values, 2, 1, END), gains), two, keepdims=0)
    return graph.Add(graph.Squeeze(graph.slice(values, 2, 0, 1), two), long)  # type: ignore[no-any-return]


def _overlapped(net: Network, windows: str, tail: str, first: str, lack: np.ndarray) -> tuple[str, str]:
    """Overlap-add windows [B, T, G, 2 * hop] to samples [B, T, G, hop]; also return what ends a signal, [B, 1, G, hop / 2].

    `lack` [G, hop / 2] is the gain that the windows at the ends of a signal lack, minus one. Adds the output `tail.out`.
    """
    graph, (n_groups, half) = net.graph, lack.shape
    hop, one = 2 * half, graph.constant([1])
    start = graph.slice(graph.slice(windows, 1, 0, 1), 3, 0, hop)
    edge = np.concatenate([-np.ones_like(lack), lack], axis=1)  # the first half comes before the signal, and is silent
    change = graph.Mul(graph.Mul(start, net.number(edge)), graph.Unsqueeze(first, graph.constant([1, 2])))
    second = graph.slice(windows, 3, hop, END)
    earliest = graph.Add(graph.Unsqueeze(tail, one), change)
    before = graph.Concat(earliest, graph.slice(second, 1, 0, -1), axis=1)
    after = graph.slice(second, 1, -1, END)
    graph.output("tail.out", graph.Squeeze(after, one), "float32", ["batch", n_groups, hop])
    rest = graph.Mul(graph.slice(after, 3, 0, half), net.number((1 + lack[:, ::-1]).astype(np.float32)))
    return graph.Add(graph.slice(windows, 3, 0, hop), before), rest


def _gain_curve(net: Network, config: SplitConfig, batch: str, gains: str) -> tuple[str, str]:
    """Return the factors of samples [B, T, G, hop] and the last gains [B, 1, G, 1] of gains [M, G * points]; keeps the last."""
    graph, n_groups, n_points = net.graph, len(config.gain_groups), config.gain_points
    points = graph.Reshape(gains, graph.Concat(batch, graph.constant([-1, n_groups, n_points]), axis=0))
    points = graph.Mul(points, net.number(MOST_GAIN))
    ends = graph.slice(points, 3, -1, END)
    shape: list[int | str] = ["batch", 1, n_groups, 1]
    starts = graph.Concat(graph.input("gain", "float32", shape), graph.slice(ends, 1, 0, -1), axis=1)
    last = graph.slice(ends, 1, -1, END)
    graph.output("gain.out", last, "float32", shape)
    between = net.number(between_points(n_points, config.core_hop))
    return graph.Exp(graph.MatMul(graph.Concat(starts, points, axis=3), between)), last


def _last_layer(net: Network, config: SplitConfig, core: str, new_targets: str) -> None:
    """Give the core's new samples [B, n] and targets [B, m, A] to the last layer, after those that wait for it."""
    graph, step, n_kept = net.graph, config.core_hop // config.steps, unfinished_windows(config) + 1
    n_samples, n_values = (n_kept + 1) * step - config.core_hop // 2, 2 * config.bands + config.top_bands
    samples = graph.Concat(graph.input("samples", "float32", ["batch", n_samples]), core, axis=1)
    graph.output("samples.out", graph.slice(samples, 1, -n_samples, END), "float32", ["batch", n_samples])
    waiting = graph.input("targets", "float32", ["batch", n_kept, n_values])
    # The first window of a signal begins before it, and has the targets of the second one.
    doubled = graph.Mul(graph.slice(new_targets, 1, 0, 1), graph.Unsqueeze("first", graph.constant([1])))
    latest = graph.Add(graph.slice(waiting, 1, -1, END), doubled)
    targets = graph.Concat(graph.slice(waiting, 1, 0, -1), latest, new_targets, axis=1)
    graph.output("targets.out", graph.slice(targets, 1, -n_kept, END), "float32", ["batch", n_kept, n_values])
    correct(net, config, samples, graph.slice(targets, 1, 0, -n_kept))


def _no_weights(graph: Graph, name: str) -> str:
    raise AssertionError(f"this graph has no weights, and asks for {name}")
