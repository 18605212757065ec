"""One step of the bundled diffusion decoder as a graph: what the networks of diffusion/flow.py compute."""

from __future__ import annotations

from itertools import pairwise

from ..diffusion.flow_config import LEVELS, MAX_GAIN, TIME_FEATURES, FlowConfig
from .graph import Graph
from .hybrid_graphs import Network, Weight


def flow_graph(config: FlowConfig, weight: Weight) -> Graph:
    """Return an Euler step of all bands: points `x` [B, T, hop] -> `x.out`, and the next pasts `past.band.block`.

    `relative` [B, T, hop] are the first decoder's coefficients and `groups` [B, T, LEVELS] the logarithms of levels, as in
    MultiBandFlow.conditions; `time` [1, TIME_FEATURES] are the features of the step's time; `share` [1] is the share of the
    way to the end that the step takes.
    """
    graph, hop = Graph("flow"), config.hop_length
    shapes = {"x": hop, "relative": hop, "latents": config.dimension, "groups": LEVELS}
    inputs = {name: graph.input(name, "float32", ["batch", "frames", size]) for name, size in shapes.items()}
    time, share = graph.input("time", "float32", [1, TIME_FEATURES]), graph.input("share", "float32", [1])
    batch = graph.Shape(inputs["x"], start=0, end=1)
    x, relative, z, groups = (graph.reshape(value, -1, shapes[name]) for name, value in inputs.items())
    ends = []
    for i, (first, last) in enumerate(pairwise(config.edges)):
        net = Network(graph, "float32", weight, f"bands.{i}")
        own, base = (graph.slice(value, 1, first, last) for value in (x, relative))
        h = net.linear(graph.Concat(own, base, z, groups, axis=1), ["inp.weight"], "inp.bias")
        h = graph.Add(h, net.linear(time, ["time.weight"], "time.bias"))
        h = net.stack(h, batch, config.depth, config.width, config.kernel_size, f"past.{i}")
        h = net.linear(net.norm(h, "norm"), ["out.weight"], "out.bias")
        gain, noise, rest = graph.Split(h, graph.constant([last - first] * 3), axis=1, n_outputs=3)
        gain = graph.Exp(graph.Clip(gain, net.number(-MAX_GAIN), net.number(MAX_GAIN)))
        ends.append(graph.Add(graph.Add(graph.Mul(base, gain), graph.Mul(noise, graph.Sub(own, base))), rest))
    moved = graph.Add(x, graph.Mul(graph.Sub(graph.Concat(*ends, axis=1), x), share))
    by_item = graph.Concat(batch, graph.constant([-1, hop]), axis=0)
    graph.output("x.out", graph.Reshape(moved, by_item), "float32", ["batch", "frames", hop])
    return graph
