"""Open ONNX graphs with onnxruntime; every fault is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bundled import first_line
from ..errors import CheckpointError
from ..threads import threads


def open_session(path: Path) -> Any:
    """Return the onnxruntime session of a graph. Raises CheckpointError if it is missing, damaged, or beyond onnxruntime."""
    import onnxruntime

    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such graph; write it with ecdc export onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # faults are raised as exceptions
    onnxruntime.set_default_logger_severity(4)
    # Threads that wait sleep: spinning threads take the processor from the one that they wait for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises dozens of types, without a common one of its own
        advice = "; a newer onnxruntime may run it" if "NotImplemented" in type(error).__name__ else ""
        raise CheckpointError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot read it: {first_line(error)}{advice}"
        ) from error


def properties(session: Any) -> dict[str, str]:
    """Return the metadata of a graph."""
    found: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return found
