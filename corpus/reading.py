"""Read the shards of a corpus: codes and columns by row. A shard is opened by a process that needs it, and may be pickled."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import mmap
import tarfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.chunk import HEAD_SIZE, Envelope, decode_codes, parse_head
from ..format.errors import WrongModel
from ..format.header import Header
from ..format.reader import Reader
from ..format.schema import PREFIX, Kind
from .errors import CorpusError, library
from .store import Store, sha256_of

Codes = NDArray[np.uint16]  # [R, T]


class Shard:
    """The rows of one shard, local to this machine."""

    def __init__(self, paths: Sequence[Path], about: dict[str, Any]) -> None:
        self.about, self.name = about, str(paths[-1])

    @staticmethod
    def open(store: Store, about: dict[str, Any], files: Sequence[dict[str, Any]], check: bool = False) -> Shard:
        """Open a shard of a store; with `check`, compare its checksum. Raises OSError, CorpusError or FormatError."""
        kind = {"webdataset": TarShard, "lhotse-shar": SharShard}.get(about["settings"]["format"], ParquetShard)
        with contextlib.ExitStack() as stack:  # copies of remote files are read at once, so they may go
            paths = [stack.enter_context(store.local(file["name"])) for file in files]
            for path, file in zip(paths, files, strict=True):
                if check and sha256_of(path) != file["sha256"]:
                    raise CorpusError(f"{store.place(file['name'])}: its checksum differs; see ecdc corpus verify")
            return kind(paths, about)

    def __len__(self) -> int:
        raise NotImplementedError

    def codes(self, row: int, start: int = 0, stop: int | None = None) -> Codes:
        """Return the codes [R, t] of the frames [start, stop) of a row; None: to the end."""
        raise NotImplementedError

    def columns(self, row: int) -> dict[str, Any]:
        """Return everything that is stored with the codes of a row."""
        raise NotImplementedError

    def verify(self) -> int:
        """Check every row; return their number. Raises CorpusError or FormatError for the first that is wrong."""
        for row in range(len(self)):
            self._check_space(self.columns(row).get("token_space", ""))
            codes = self.codes(row)
            if codes.size and int(codes.max()) >= self.about["codebook_size"]:
                raise CorpusError(f"row {row} has a code of {codes.max()}, codebooks have {self.about['codebook_size']}")
        return len(self)

    def _check_space(self, space: str) -> None:
        if space != self.about["token_space"]:
            raise WrongModel(0, f"{self.name}: holds tokens of {space[:12] or 'no model'}, not of {self.about['model']} "
                                f"({self.about['token_space'][:12]})")  # fmt: skip


def header_of(data: bytes) -> tuple[Header, int]:
    """Return the header of an .ecdc file, and its size. Files of one corpus mostly have the same header, so it is cached."""
    size = PREFIX.parse(data[: PREFIX.sizeof()]).header_size if len(data) > PREFIX.sizeof() else 0
    return _parsed(data[: max(size, PREFIX.sizeof())]), size


@lru_cache(maxsize=256)
def _parsed(data: bytes) -> Header:
    return Reader(io.BytesIO(data)).header


class TarShard(Shard):
    """A WebDataset shard."""

    def __init__(self, paths: Sequence[Path], about: dict[str, Any]) -> None:
        super().__init__(paths, about)
        with open(paths[0], "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows: list[tuple[slice, slice]] = []  # of the .ecdc and the .json
        try:
            with tarfile.open(paths[0]) as tar:
                spans = [(m.name, slice(m.offset_data, m.offset_data + m.size)) for m in tar]
        except tarfile.TarError as error:
            raise CorpusError(f"{self.name}: is not a tar ({error})") from None
        for (name, tokens), (_, facts) in zip(spans[::2], spans[1::2], strict=False):
            if not name.endswith(".ecdc"):
                raise CorpusError(f"{self.name}: {name} does not belong into a shard of tokens")
            self._rows.append((tokens, facts))

    def __len__(self) -> int:
        return len(self._rows)

    def codes(self, row: int, start: int = 0, stop: int | None = None) -> Codes:
        data = self._data[self._rows[row][0]]
        header, at = header_of(data)
        self._check_space(header.token_space.hex())
        parts, frame, first = [], 0, None
        while stop is None or frame < stop:
            # Without the chunk's CRC: the shard's checksum was compared, and a CRC of each sample costs more than its codes.
            head = parse_head(data[at : at + HEAD_SIZE], at)
            body = data[at + HEAD_SIZE : at + HEAD_SIZE + head.body_size]
            envelope = Envelope(at, head.kind, head.flags, head.sequence, body)
            at += envelope.size
            if head.kind == Kind.END:
                break
            if head.kind != Kind.CODES:
                continue
            chunk = decode_codes(envelope, header)
            frame = chunk.stop_frame
            if frame > start:
                first = chunk.first_frame if first is None else first
                parts.append(chunk.codes)
        found: Codes = np.concatenate(parts, axis=1) if parts else np.zeros((0, 0), np.uint16)
        begin = start - (first or 0)
        return found[:, begin : None if stop is None else begin + stop - start]

    def columns(self, row: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._data[self._rows[row][1]])
        return found

    def verify(self) -> int:
        for tokens, _ in self._rows:
            Reader(io.BytesIO(self._data[tokens])).verify()
        return super().verify()


class ParquetShard(Shard):
    """A table; memory is used for the rows of one row group."""

    def __init__(self, paths: Sequence[Path], about: dict[str, Any]) -> None:
        super().__init__(paths, about)
        parquet = library("pyarrow.parquet", "corpus", "parquet")
        try:
            self._file = parquet.ParquetFile(io.BytesIO(paths[0].read_bytes()))
        except library("pyarrow", "corpus", "parquet").ArrowException as error:
            raise CorpusError(f"{self.name}: is not a parquet file ({error})") from None
        counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._ends = np.cumsum(counts)
        self._group, self._table = -1, None
        self._checked = False

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def _row(self, row: int) -> tuple[Any, int]:
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group:
            self._group, self._table = group, self._file.read_row_group(group)
        return self._table, row - (int(self._ends[group - 1]) if group else 0)

    def codes(self, row: int, start: int = 0, stop: int | None = None) -> Codes:
        table, i = self._row(row)
        if not self._checked:
            self._check_space(table.column("token_space")[i].as_py())
            self._checked = True
        lists = table.column("codes")[i].values  # one list per codebook
        flat = lists.flatten().to_numpy(zero_copy_only=False)
        codes: Codes = flat.reshape(len(lists), -1)[:, start:stop]
        return codes

    def columns(self, row: int) -> dict[str, Any]:
        table, i = self._row(row)
        return {name: table.column(name)[i].as_py() for name in table.column_names if name != "codes"}


class SharShard(Shard):
    """A Lhotse Shar shard: cuts, and arrays [T, R] in a tar."""

    def __init__(self, paths: Sequence[Path], about: dict[str, Any]) -> None:
        super().__init__(paths, about)
        cuts, arrays = paths
        try:
            with gzip.open(cuts, "rt", encoding="utf-8") as lines:
                self._cuts = [json.loads(line) for line in lines]
            with tarfile.open(arrays) as tar:
                names = [(m.name, slice(m.offset_data, m.offset_data + m.size)) for m in tar]
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise CorpusError(f"{self.name}: cannot be read ({error})") from None
        with open(arrays, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._spans = [span for name, span in names if name.endswith(".npy")]
        if len(self._spans) != len(self._cuts):
            raise CorpusError(f"{self.name}: has {len(self._spans)} arrays for {len(self._cuts)} cuts")

    def __len__(self) -> int:
        return len(self._cuts)

    def codes(self, row: int, start: int = 0, stop: int | None = None) -> Codes:
        self._check_space((self._cuts[row].get("custom") or {}).get("token_space", ""))
        codes: Codes = np.load(io.BytesIO(self._data[self._spans[row]]), allow_pickle=False).T[:, start:stop]
        return codes

    def columns(self, row: int) -> dict[str, Any]:
        cut = self._cuts[row]
        texts = [s["text"] for s in cut.get("supervisions") or () if s.get("text")]
        own = {"key": cut["id"], "seconds": cut["duration"], "cut": cut}
        return {**(cut.get("custom") or {}), **({"text": " ".join(texts)} if texts else {}), **own}
