"""Write ONNX graphs by calling operators like functions. Needs the package `onnx`; running a graph does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # the oldest that has LayerNormalization; onnxruntime and onnxruntime-web have read it since 2022
IR_VERSION = 8
TYPES = {
    "float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64,
}  # fmt: skip
Place = tuple[str, int, int]  # file beside the graph, offset and length in bytes


class Graph:
    """A graph under construction. Values are names; a number or an array where a value is expected becomes a constant."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._n_values = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare an input; names in `shape` are dynamic axes."""
        self._inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], list(shape)))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare `value` as the output `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TYPES[dtype], list(shape)))

    def weight(self, name: str, array: np.ndarray, place: Place | None = None) -> str:
        """Add a weight with its values, or only with the place of its values in a file beside the graph."""
        if name not in self._tensors:
            self._tensors[name] = _external(name, array, place) if place else numpy_helper.from_array(array, name)
        return name

    def constant(self, value: Any, dtype: str = "int64") -> str:
        """Add a constant of any shape; equal ones are stored once."""
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._tensors[self._constants[key]] = numpy_helper.from_array(array, self._constants[key])
        return self._constants[key]

    def __getattr__(self, operator: str) -> Any:
        """Return a function that adds a node: `graph.Add(x, y)` returns the name of the sum."""
        if not operator[0].isupper():
            raise AttributeError(operator)

        def add(*inputs: str, n_outputs: int = 1, **attributes: Any) -> Any:
            outputs = [f"{operator.lower()}_{self._n_values + i}" for i in range(n_outputs)]
            self._n_values += n_outputs
            self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
            return outputs[0] if n_outputs == 1 else outputs

        return add

    def slice(self, value: str, axis: int, start: int | str, stop: int | str) -> str:
        """Return [start, stop) along an axis; a bound may be the name of a value of shape [1]."""
        bounds = (bound if isinstance(bound, str) else self.constant([bound]) for bound in (start, stop))
        sliced: str = self.Slice(value, *bounds, self.constant([axis]))
        return sliced

    def reshape(self, value: str, *shape: int) -> str:
        """Return a value in another shape; 0 keeps an axis, -1 is deduced."""
        reshaped: str = self.Reshape(value, self.constant(list(shape)))
        return reshaped

    def build(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the finished model."""
        made = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._tensors.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ecdc")
        helper.set_model_props(model, dict(metadata))
        return model


END = np.iinfo(np.int64).max  # the end of an axis, as a bound of `Graph.slice`


def _external(name: str, array: np.ndarray, place: Place) -> Any:
    tensor = TensorProto(name=name, data_type=TYPES[str(array.dtype)], dims=array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in zip(("location", "offset", "length"), place, strict=True):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
