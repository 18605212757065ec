"""Write the graphs of a codec: with their weights, to be used anywhere, or beside the weights of a bundled model."""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from ...format.files import atomic_path
from ..bundled import BUNDLED, CONFIG, WEIGHTS, bundled_names, first_line, read_config, read_json
from ..config import CodecConfig, HybridConfig, SplitConfig
from ..diffusion.flow_config import FlowConfig
from ..errors import CheckpointError
from ..runtime import torch_for
from .flow_graphs import flow_graph
from .graph import Graph, Place
from .hybrid_graphs import decoder_graph, encoder_graph
from .load import load_light
from .names import DECODER, ENCODER, ENDING, FLOW, LEVELS, QUANTIZER
from .seanet_sizes import decoder_layers, encoder_layers, least_frames, streams
from .split_sizes import dropped_samples

DECODER_FP16 = "decoder_fp16.onnx"
FLOW_WEIGHTS = "mbd.safetensors"


def metadata(config: CodecConfig, token_space: bytes) -> dict[str, str]:
    """Return what a graph says about its codec: names, rates in Hz and kbps, and the delay in samples."""
    return {
        "codec": config.name,
        "token_space": token_space.hex(),
        "sample_rate": str(config.sample_rate),
        "channels": str(config.channels),
        "hop_length": str(config.hop_length),
        "frame_rate": str(config.frame_rate),
        "n_codebooks": str(config.n_codebooks),
        "codebook_size": str(config.codebook_size),
        "kbps": json.dumps(list(config.bitrates_kbps)),
    } | {name: str(value) for name, value in delays(config).items()}


def delays(config: CodecConfig) -> dict[str, int]:
    """Return the delays of a codec in samples, and the number of frames that its decoder looks ahead."""
    kind, hop = config.architecture, config.hop_length
    if isinstance(kind, SplitConfig):
        context, dropped, lookahead = hop // 2, dropped_samples(kind), 0
        delay = dropped
    elif isinstance(kind, HybridConfig):
        context, dropped, lookahead = (kind.encoder_window - 1) * hop // 2, hop // 2, kind.lookahead
        delay = lookahead * hop + dropped
    else:
        sizes = kind, config.channels, config.dimension
        encoder, decoder = encoder_layers(*sizes), decoder_layers(*sizes)
        return {  # frames of the first block of a stream
            "encoder_first": least_frames(encoder, kind, hop) if streams(kind) else 0,
            "decoder_first": least_frames(decoder, kind, 1) if streams(kind) else 0,
        }
    return {
        "encoder_context": context,  # zeros before the signal in the first `samples`, and after its end
        "encoder_delay": context,  # samples after the end of a frame that its codes need
        "decoder_drop": dropped,  # samples before the signal that the first call gives
        "decoder_lookahead": lookahead,  # frames
        "decoder_delay": delay,  # samples after the end of a frame that are needed to hear it
    }


def metadata_of(folder: Path) -> dict[str, str]:
    """Return what the graphs of a model folder say about it."""
    codec = load_light(folder)
    return metadata(codec.config, codec.token_space)


def graphs(config: CodecConfig, weight: Callable[[Graph, str], str]) -> dict[str, Graph]:
    """Return the graphs of a codec by the names of their files. Raises CheckpointError if it has none."""
    kind = config.architecture
    if isinstance(kind, SplitConfig):
        from . import split_graphs as split

        arguments = kind, config.dimension, weight
        made = {ENCODER: split.encoder_graph(*arguments), DECODER: split.decoder_graph(*arguments)}
        return made | {LEVELS: split.levels_graph(kind), ENDING: split.end_graph(kind)}
    if isinstance(kind, HybridConfig):
        parts = kind, config.dimension, weight
        return {ENCODER: encoder_graph(*parts), DECODER: decoder_graph(*parts)}
    from . import seanet_graphs as seanet

    return {ENCODER: seanet.encoder_graph(config, weight), DECODER: seanet.decoder_graph(config, weight)}


def structures(folder: Path) -> dict[str, bytes]:
    """Return the graphs of a model folder without weights: they refer to the tensors in its safetensors files."""

    def refer(path: Path) -> Callable[[Graph, str], str]:
        found = places(path)

        def weight(graph: Graph, name: str) -> str:
            dtype, shape, place = found[name]
            return graph.weight(name, np.broadcast_to(np.zeros((), dtype), shape), place)

        return weight

    facts = metadata_of(folder)
    made = {name: graph.build(facts) for name, graph in graphs(read_config(folder), refer(folder / WEIGHTS)).items()}
    flow = flow_facts(folder)
    if flow:
        config = FlowConfig.from_dict(json.loads(flow["flow"]))
        made[FLOW] = flow_graph(config, refer(folder / FLOW_WEIGHTS)).build(facts | flow)
    return {name: model.SerializeToString() for name, model in made.items()}


def flow_facts(folder: Path) -> dict[str, str]:
    """Return what the file of a diffusion decoder of ours in a model folder says about it; empty if there is none."""
    path = folder / FLOW_WEIGHTS
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            found = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error
    return {"flow": found["flow"], "token_space": found.get("token_space", "")} if "flow" in found else {}


@contextlib.contextmanager
def folder_of(name_or_path: str) -> Iterator[Path]:
    """Give the folder of a bundled model or of one of ours; any other model is loaded with torch, and saved for the time being.

    Raises CheckpointError if there is no such model, and MissingTorch if it needs torch.
    """
    path = BUNDLED / name_or_path if name_or_path in bundled_names() else Path(name_or_path)
    if path.is_dir() and (path / WEIGHTS).is_file() and "architecture" in read_json(path / CONFIG):
        yield path
        return
    with torch_for(f"the model {name_or_path}"):
        from ..checkpoints import load, save
    codec = load(name_or_path)
    with tempfile.TemporaryDirectory() as folder:
        save(codec, folder)
        yield Path(folder)


def places(path: Path) -> dict[str, tuple[str, tuple[int, ...], Place]]:
    """Return type, shape and place of every tensor in a safetensors file."""
    with open(path, "rb") as file:
        (n_bytes,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(n_bytes))
    types = {"F16": "float16", "F32": "float32", "F64": "float64"}
    return {
        name: (
            types[entry["dtype"]],
            tuple(entry["shape"]),
            (path.name, 8 + n_bytes + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0]),
        )
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] in types
    }


def export_model(folder: Path, output: Path) -> list[Path]:
    """Write a model folder's graphs with their weights, its quantizer and its configuration; returns the files.

    The decoder is written twice: with float32 weights, and with float16 weights, which are half as large and computed with
    in float32. `output` can be used as a model. Raises CheckpointError, in one line, if the model has no graphs.
    """
    config, facts = read_config(folder), metadata_of(folder)
    arrays = _tensors(folder / WEIGHTS)

    def weight(dtype: str | None) -> Callable[[Graph, str], str]:
        return lambda graph, name: graph.weight(name, arrays[name].astype(dtype or arrays[name].dtype))

    made = {
        **graphs(config, weight(None)),  # in the type of the model's file: tokens depend on every bit
        DECODER: graphs(config, weight("float32"))[DECODER],
        DECODER_FP16: graphs(config, weight("float16"))[DECODER],
    }
    flow = flow_facts(folder)
    if flow:
        arrays |= _tensors(folder / FLOW_WEIGHTS)
        made[FLOW] = flow_graph(FlowConfig.from_dict(json.loads(flow["flow"])), weight(None))
    output.mkdir(parents=True, exist_ok=True)
    for name, graph in made.items():
        model = graph.build(facts | (flow if name == FLOW else {}))
        check(model)
        with atomic_path(output / name) as partial:
            partial.write_bytes(model.SerializeToString())
    quantizer = {name: array for name, array in arrays.items() if name.startswith("quantizer.")}
    with atomic_path(output / QUANTIZER) as partial:
        save_file(quantizer, partial)
    (output / CONFIG).write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    return [output / name for name in (*made, QUANTIZER, CONFIG)]


def write_structures(folder: Path) -> list[Path]:
    """Write a model folder's graphs without weights, beside the weights that they refer to; returns the files."""
    written = structures(folder)
    for name, data in written.items():
        with atomic_path(folder / name) as partial:
            partial.write_bytes(data)
    return [folder / name for name in written]


def check(model: Any) -> None:
    """Check a graph with onnx's checker, which raises ValidationError for a fault of ours."""
    import onnx

    onnx.checker.check_model(model, full_check=True)


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from error
