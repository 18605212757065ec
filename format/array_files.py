"""Named arrays and one text in numpy and safetensors files. Nothing is unpickled, and every size is checked."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .bytestream import Source, write_all
from .errors import ArgumentError

Arrays: TypeAlias = dict[str, NDArray[Any]]
MAX_BYTES = 2**30 + 2**20  # of a file: 2^27 codes (the limit of token_files.py) as int64, and the text
MAX_TEXT = 2**24  # bytes of a header as JSON; in a stream it has at most 65 535
NAMES = ("codes", "segment_frames", "segment_scale")
TEXT = "header"  # the member of an .npz that holds the text
METADATA = "ecdc"  # the metadata key that holds the text in a .safetensors
SAFETENSORS_TYPES = frozenset({"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F32"})


def save_arrays(output: BinaryIO, form: str, arrays: Arrays, text: str) -> None:
    """Write arrays and `text` as npz or safetensors, or only `codes` as npy, without seeking."""
    if form == "npy":
        write_all(output, _npy_bytes(arrays["codes"]))
    elif form == "npz":
        _save_npz(output, arrays | {TEXT: np.array(text)})
    else:
        from safetensors.numpy import save

        write_all(output, save(arrays, {METADATA: text}))


def load_arrays(fileobj: BinaryIO, form: str) -> tuple[Arrays, str | None]:
    """Read the arrays, always including `codes`, and the text, or None without one; raises ValueError."""
    data = Source(fileobj).read_up_to(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ArgumentError(f"a token file must be at most {MAX_BYTES} bytes")
    if form == "npy":
        return {"codes": _parse_npy(data, "codes")}, None
    arrays, text = _load_npz(data) if form == "npz" else _load_safetensors(data)
    if "codes" not in arrays:
        raise ArgumentError(f"the file has no array 'codes' (it has: {', '.join(sorted(arrays)) or 'nothing'})")
    return arrays, text


def _npy_bytes(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _parse_npy(data: bytes, name: str) -> NDArray[Any]:
    """Parse a .npy of numbers or text; raises ValueError unless its size equals that of its bytes."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran_order, dtype = read(stream)
    except Exception:  # many kinds: numpy parses the header with Python's tokenizer and parser
        raise ArgumentError(f"{name}: is not an array in numpy's format") from None
    if dtype.kind not in "iufU" or dtype.itemsize == 0:
        raise ArgumentError(f"{name}: must be an array of numbers, got {str(dtype)[:40]}")
    size, rest = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if min(shape, default=0) < 0 or size != rest:
        raise ArgumentError(f"{name}: needs {size} bytes for {list(shape)[:4]}, the file has {rest}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran_order else "C")


def _save_npz(output: BinaryIO, arrays: Arrays) -> None:
    """Write like numpy.savez, but without a timestamp, so that equal tokens give equal bytes."""
    with zipfile.ZipFile(_Forward(output), "w") as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), _npy_bytes(array))


def _load_npz(data: bytes) -> tuple[Arrays, str | None]:
    arrays: Arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in _wanted(archive):
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as member:
                    content = member.read(info.file_size + 1)
                arrays[name] = _parse_npy(content, name)
    except ArgumentError:
        raise
    except Exception:  # many kinds: zipfile believes what a file says about itself
        raise ArgumentError("the file is not a whole .npz") from None
    text = arrays.pop(TEXT, None)
    if text is not None and (text.dtype.kind != "U" or text.ndim):
        raise ArgumentError(f"header: must be one text, got {text.dtype} {list(text.shape)}")
    return arrays, None if text is None else str(text)


def _wanted(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """Yield the members with known names, after checking their sizes, because a small archive can expand to any size."""
    left = MAX_BYTES
    for info in archive.infolist():
        if info.filename.removesuffix(".npy") not in (*NAMES, TEXT):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArgumentError(f"{info.filename}: must be stored or deflated, as numpy does")
        left -= info.file_size
        if left < 0 or (info.filename == f"{TEXT}.npy" and info.file_size > MAX_TEXT):
            raise ArgumentError(f"{info.filename}: is too large, {info.file_size} bytes")
        yield info


def _load_safetensors(data: bytes) -> tuple[Arrays, str | None]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    size = int.from_bytes(data[:8], "little")
    try:
        about = json.loads(data[8 : 8 + size]) if len(data) >= 8 and size <= MAX_TEXT else None
        types = {info["dtype"] for name, info in about.items() if name != "__metadata__"}  # type: ignore[union-attr]
        if not types <= SAFETENSORS_TYPES:
            raise ValueError
        arrays = load(data)
        text = about.get("__metadata__", {}).get(METADATA)  # type: ignore[union-attr]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArgumentError("the file is not a whole .safetensors of numbers") from None
    return arrays, text


class _Forward:
    """An output that cannot seek, so that zipfile writes the same bytes to files and to pipes."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, data: bytes, /) -> int:
        write_all(self._output, data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def close(self) -> None:
        """Do nothing: the caller closes the output."""
