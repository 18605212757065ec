"""EnCodec's encoder and decoder as graphs, with their state as inputs and outputs.

They compute what modules/seanet.py computes, in float32. Signals are [B, C, N] inside. The integers `first` and `last` (0 or 1)
tell whether a block starts and ends its signal, where each convolution pads it. Graphs of models that normalize over time
have neither of them and no state: they take whole signals, which are segments.
"""

from __future__ import annotations

import numpy as np

from ..config import CodecConfig, SeanetConfig
from ..errors import CheckpointError
from .graph import END, Graph
from .hybrid_graphs import Network, Weight
from .seanet_sizes import ConvLayer, LstmLayer, ResidualLayer, SeanetLayer, UpLayer, decoder_layers, encoder_layers, streams


def encoder_graph(config: CodecConfig, weight: Weight) -> Graph:
    """Return the encoder: `wav` [B, C, N] and the state -> `latents` [B, T, D], and the next state."""
    layers = encoder_layers(_checked(config), config.channels, config.dimension)
    made = _Graph("encoder", config, weight)
    x = made.graph.input("wav", "float32", ["batch", config.channels, "samples"])
    latents = made.graph.Transpose(made.run(x, layers), perm=[0, 2, 1])
    made.graph.output("latents", latents, "float32", ["batch", "frames", config.dimension])
    return made.graph


def decoder_graph(config: CodecConfig, weight: Weight) -> Graph:
    """Return the decoder: `latents` [B, T, D] and the state -> `wav` [B, C, n], and the next state."""
    layers = decoder_layers(_checked(config), config.channels, config.dimension)
    made = _Graph("decoder", config, weight)
    latents = made.graph.input("latents", "float32", ["batch", "frames", config.dimension])
    wav = made.run(made.graph.Transpose(latents, perm=[0, 2, 1]), layers)
    made.graph.output("wav", wav, "float32", ["batch", config.channels, "samples"])
    return made.graph


def _checked(config: CodecConfig) -> SeanetConfig:
    """Return the architecture. Raises CheckpointError if graphs cannot compute it."""
    seanet = config.architecture
    assert isinstance(seanet, SeanetConfig)
    if config.exact_dtype != "float32":
        raise CheckpointError(f"{config.name}: graphs of seanet codecs compute in float32, this one in {config.exact_dtype}")
    if seanet.causal and seanet.trim_right_ratio != 1.0:
        raise CheckpointError(f"{config.name}: graphs need trim_right_ratio 1, this model has {seanet.trim_right_ratio:g}")
    return seanet


class _Graph:
    """A graph under construction, layer by layer."""

    def __init__(self, name: str, config: CodecConfig, weight: Weight) -> None:
        self.graph = graph = Graph(name)
        self.net = Network(graph, "float32", weight, name)
        assert isinstance(config.architecture, SeanetConfig)
        self.config, self.streams = config.architecture, streams(config.architecture)
        one = graph.constant([1])
        self.first, self.last = (graph.input(n, "int64", [1]) if self.streams else one for n in ("first", "last"))

    def run(self, x: str, layers: list[SeanetLayer]) -> str:
        """Add layers in sequence: [B, C, N] -> [B, C', N']."""
        for layer in layers:
            if isinstance(layer, ConvLayer):
                x = self._conv(x, layer)
            elif isinstance(layer, ResidualLayer):
                x = self._residual(x, layer)
            elif isinstance(layer, UpLayer):
                x = self._up(x, layer)
            else:
                x = self._lstm(x, layer)
        return x

    def _conv(self, x: str, layer: ConvLayer) -> str:
        graph = self.graph
        if layer.elu:
            x = graph.Elu(x, alpha=self.config.elu_alpha)
        if layer.span > 1 or layer.stride > 1:
            x = self._padded(x, layer)
        weight = graph.Transpose(self.net.weight(f"{layer.name}.weight"), perm=[2, 1, 0])
        sizes = {"strides": [layer.stride], "dilations": [layer.dilation]}
        return self._normalized(graph.Conv(x, weight, self.net.weight(f"{layer.name}.bias"), **sizes), layer.name, layer.n_out)

    def _padded(self, x: str, layer: ConvLayer) -> str:
        """Return the padded rows of all windows that are complete; the state keeps the rows that are still needed."""
        graph, config = self.graph, self.config
        left, right, slack, stride = layer.left(config), layer.right(config), layer.slack(config), layer.stride
        known = self._with_state(x, layer.name, layer.n_in)
        n_rows = graph.Shape(known, start=2, end=3)
        before = graph.Mul(self.first, graph.constant([slack + left]))
        base = graph.Sub(graph.Add(n_rows, before), graph.constant([slack]))
        missing = None
        if right or stride > 1:  # (the number of windows - 1) * stride + span - base
            windows = graph.Div(graph.Add(base, graph.constant([right - layer.span + stride - 1])), graph.constant([stride]))
            wanted = graph.Add(graph.Mul(windows, graph.constant([stride])), graph.constant([layer.span]))
            missing = graph.Mul(graph.Max(graph.Sub(wanted, base), graph.constant([0])), self.last)
        if config.pad_mode == "reflect":
            parts = self._reflected(known, layer, (n_rows, before, missing))
            padded = graph.Concat(*parts, axis=2)
        else:
            none = graph.constant([0, 0])
            pads = graph.Concat(none, before, none, missing or graph.constant([0]), axis=0)
            padded = graph.Pad(known, pads)
        ready = graph.slice(padded, 2, slack, END) if slack else padded
        if self.streams:
            n_ready = graph.Shape(ready, start=2, end=3)
            done = graph.Add(
                graph.Div(graph.Sub(n_ready, graph.constant([layer.span])), graph.constant([stride])), graph.constant([1])
            )
            self._keep(graph.slice(padded, 2, graph.Mul(done, graph.constant([stride])), END), layer.name, layer.n_in)
        return ready

    def _reflected(self, known: str, layer: ConvLayer, sizes: tuple[str, str, str | None]) -> list[str]:
        """Return a signal's parts: what is reflected before it, its rows, and what is reflected after it.

        A signal that is too short to be reflected is extended with zeros, which are removed afterwards.
        """
        graph, left, slack = self.graph, layer.left(self.config), layer.slack(self.config)
        n_rows, before, missing = sizes
        head = graph.Pad(graph.slice(known, 2, 0, left + 1), graph.constant([0, 0, slack, 0, 0, left + 1]))
        places = np.concatenate([np.zeros(slack, int), slack + np.arange(left, 0, -1)])
        if slack:  # the first `slack` columns are zeros
            places[:slack] = np.arange(slack)
        reflected = graph.slice(graph.Gather(head, graph.constant(places), axis=2), 2, 0, before)
        if missing is None:
            return [reflected, known]
        most = layer.right(self.config) + layer.stride - 1
        ends = graph.Mul(self.first, self.last)
        longest = graph.Max(graph.constant([left]), missing)
        short = graph.Mul(ends, graph.Max(graph.Sub(graph.Add(longest, graph.constant([1])), n_rows), graph.constant([0])))
        tail = graph.slice(known, 2, -(most + 1), END)
        n_tail = graph.Shape(tail, start=2, end=3)
        start = graph.Add(n_tail, graph.Add(short, short))
        index = graph.Min(graph.Sub(start, graph.constant(np.arange(2, most + 2))), n_tail)
        zero = graph.Pad(tail, graph.constant([0, 0, 0, 0, 0, 1]))
        after = graph.Gather(zero, graph.Max(index, graph.constant([0])), axis=2)
        return [reflected, known, graph.slice(after, 2, 0, missing)]

    def _residual(self, x: str, layer: ResidualLayer) -> str:
        graph = self.graph
        out = self._conv(self._conv(x, layer.wide), layer.narrow)
        if self.streams and not self.config.causal:  # the input waits for the body's output
            name = layer.narrow.name
            waiting = self._with_state(x, name, layer.wide.n_in)
            n_done = graph.Shape(out, start=2, end=3)
            x = graph.slice(waiting, 2, 0, n_done)
            self._keep(graph.slice(waiting, 2, n_done, END), name, layer.wide.n_in)
        return graph.Add(x if layer.skip is None else self._conv(x, layer.skip), out)  # type: ignore[no-any-return]

    def _up(self, x: str, layer: UpLayer) -> str:
        """Add a transposed convolution: a plain one over pairs of rows, which makes `stride` rows of each pair."""
        graph, stride = self.graph, layer.stride
        known = self._with_state(graph.Elu(x, alpha=self.config.elu_alpha), layer.name, layer.n_in)
        none = graph.constant([0, 0])
        padded = graph.Pad(known, graph.Concat(none, self.first, none, self.last, axis=0))
        if self.streams:
            self._keep(graph.slice(padded, 2, -1, END), layer.name, layer.n_in)
        weight = graph.reshape(self.net.weight(f"{layer.name}.weight"), 2, layer.n_in, -1)
        bias = graph.Concat(*[self.net.weight(f"{layer.name}.bias")] * stride, axis=0)
        out = graph.Conv(padded, graph.Transpose(weight, perm=[2, 1, 0]), bias)
        out = graph.Transpose(graph.reshape(out, 0, stride, layer.n_out, -1), perm=[0, 2, 3, 1])
        out = self._normalized(graph.reshape(out, 0, layer.n_out, -1), layer.name, layer.n_out)
        left, right = layer.trims(self.config)
        stop = graph.Sub(graph.Shape(out, start=2, end=3), graph.Mul(self.last, graph.constant([right])))
        return graph.slice(out, 2, graph.Mul(self.first, graph.constant([left])), stop)

    def _lstm(self, x: str, layer: LstmLayer) -> str:
        graph = self.graph
        steps = out = graph.Transpose(x, perm=[2, 0, 1])  # [T, B, C]
        for i in range(self.config.lstm_layers):
            weights = [
                self._gates(f"{layer.name}.lstm.{name}_l{i}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            bias = graph.Concat(weights[2], weights[3], axis=0)
            factors = [graph.Unsqueeze(value, graph.constant([0])) for value in (weights[0], weights[1], bias)]
            names = [f"hidden.{i}", f"cell.{i}"]
            shape: list[int | str] = [1, "batch", layer.width]
            state = ["", *(graph.input(name, "float32", shape) for name in names)] if self.streams else []
            found, *after = graph.LSTM(out, *factors, *state, n_outputs=3, hidden_size=layer.width)
            out = graph.Squeeze(found, graph.constant([1]))
            for name, value in zip(names, after, strict=True):
                if self.streams:
                    graph.output(f"{name}.out", value, "float32", shape)
        return graph.Transpose(graph.Add(steps, out), perm=[1, 2, 0])  # type: ignore[no-any-return]

    def _gates(self, name: str) -> str:
        """Return a weight of an LSTM with its gates in ONNX's order: input, output, forget, cell."""
        enter, forget, cell, leave = self.graph.Split(self.net.weight(name), axis=0, n_outputs=4)
        return self.graph.Concat(enter, leave, forget, cell, axis=0)  # type: ignore[no-any-return]

    def _normalized(self, x: str, name: str, n_channels: int) -> str:
        """Normalize over all channels and the whole signal, if the model does."""
        if self.config.norm != "time_group_norm":
            return x
        graph, net = self.graph, self.net
        flat = graph.reshape(x, 0, 1, -1)
        flat = graph.InstanceNormalization(flat, net.number(np.ones(1)), net.number(np.zeros(1)), epsilon=1e-5)
        gain, offset = (graph.Unsqueeze(net.weight(f"{name}.norm.{n}"), graph.constant([1])) for n in ("weight", "bias"))
        return graph.Add(graph.Mul(graph.reshape(flat, 0, n_channels, -1), gain), offset)  # type: ignore[no-any-return]

    def _with_state(self, x: str, name: str, n_channels: int) -> str:
        """Prepend the rows of a layer's state."""
        if not self.streams:
            return x
        before = self.graph.input(name, "float32", ["batch", n_channels, f"{name}.rows"])
        return self.graph.Concat(before, x, axis=2)  # type: ignore[no-any-return]

    def _keep(self, rows: str, name: str, n_channels: int) -> None:
        self.graph.output(f"{name}.out", rows, "float32", ["batch", n_channels, f"{name}.rows_out"])
