"""Named arrays and one text in files of numpy and safetensors. Nothing is unpickled, and no size is believed unchecked."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .bytestream import Source, write_all

Arrays: TypeAlias = dict[str, NDArray[Any]]
MAX_BYTES = 2**30 + 2**20  # of a file: 2^27 codes, the most that tokens.py takes, as int64, and the text about them
MAX_TEXT = 2**24  # bytes of a header as JSON, which is at most 65 535 on the wire
NAMES = ("codes", "segment_frames", "segment_scale")
TEXT = "header"  # the member of an .npz that holds the text
METADATA = "ecdc"  # the name under which a .safetensors holds it
SAFETENSORS_TYPES = frozenset({"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F32"})


def save_arrays(output: BinaryIO, form: str, arrays: Arrays, text: str) -> None:
    """Write arrays and the text about them as npy, which takes `codes` only, npz or safetensors; never seeks."""
    if form == "npy":
        write_all(output, _npy_bytes(arrays["codes"]))
    elif form == "npz":
        _save_npz(output, arrays | {TEXT: np.array(text)})
    else:
        from safetensors.numpy import save

        write_all(output, save(arrays, {METADATA: text}))


def load_arrays(fileobj: BinaryIO, form: str) -> tuple[Arrays, str | None]:
    """The arrays, `codes` among them, and the text about them, None if there is none; ValueError says what is wrong."""
    data = Source(fileobj).read_up_to(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"a token file must be at most {MAX_BYTES} bytes")
    if form == "npy":
        return {"codes": _parse_npy(data, "codes")}, None
    arrays, text = _load_npz(data) if form == "npz" else _load_safetensors(data)
    if "codes" not in arrays:
        raise ValueError(f"the file holds no array 'codes', but {', '.join(sorted(arrays)) or 'nothing'}")
    return arrays, text


def _npy_bytes(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _parse_npy(data: bytes, name: str) -> NDArray[Any]:
    """The array of a .npy, of plain numbers or text, as large as its bytes are and no larger."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran_order, dtype = read(stream)
    except Exception:  # of numpy, the tokenizer and the parser of Python that it lets loose on the header: many kinds
        raise ValueError(f"{name}: is not an array in numpy's format") from None
    if dtype.kind not in "iufU" or dtype.itemsize == 0:
        raise ValueError(f"{name}: must be an array of numbers, got {str(dtype)[:40]}")
    size, rest = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if min(shape, default=0) < 0 or size != rest:
        raise ValueError(f"{name}: needs {size} bytes for {list(shape)[:4]}, {rest} are here")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran_order else "C")


def _save_npz(output: BinaryIO, arrays: Arrays) -> None:
    """As numpy.savez, but without the time of day in it, so that equal tokens give equal bytes."""
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
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error):
        raise ValueError("the file is not a whole .npz") from None
    text = arrays.pop(TEXT, None)
    if text is not None and (text.dtype.kind != "U" or text.ndim):
        raise ValueError(f"header: must be one text, got {text.dtype} {list(text.shape)}")
    return arrays, None if text is None else str(text)


def _wanted(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """The members that hold what we know, with their sizes checked: a small archive may unfold to any size."""
    left = MAX_BYTES
    for info in archive.infolist():
        if info.filename.removesuffix(".npy") not in (*NAMES, TEXT):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename}: must be stored or deflated, as numpy does")
        left -= info.file_size
        if left < 0 or (info.filename == f"{TEXT}.npy" and info.file_size > MAX_TEXT):
            raise ValueError(f"{info.filename}: is too large, {info.file_size} bytes")
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
        raise ValueError("the file is not a whole .safetensors of numbers") from None
    return arrays, text


class _Forward:
    """An output that says of itself that it cannot seek: zipfile then writes the same bytes to files and to pipes."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, data: bytes, /) -> int:
        write_all(self._output, data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The output is the caller's to close."""
