"""Throughput of reading tokens in a DataLoader: a corpus, against .npz files and against WebDataset of .npy."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from ..corpus import Collate, Engine, Settings, TokenDataset, TokenStream, encode_corpus
from ..corpus.outputs.webdataset import add

FRAMES, BATCH, EPOCH_SECONDS = 150, 32, 6.0
PER_SHARD = 10
Row = dict[str, Any]


class NpzWindows(Dataset):
    """A random window of an .npz file, one file per recording: what most scripts write."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Any]:
        with np.load(self.paths[i]) as file:
            return window(file["codes"])


def window(codes: np.ndarray) -> dict[str, Any]:
    """Return a random window of codes [K, T], padded."""
    start = np.random.default_rng().integers(max(codes.shape[1] - FRAMES, 0) + 1)
    part = codes[:, start : start + FRAMES]
    n = part.shape[1]
    return {"codes": np.pad(part, ((0, 0), (0, FRAMES - n))), "mask": np.arange(FRAMES) < n}


class NpyTars(IterableDataset):
    """WebDataset shards that hold .npy, read with the library `webdataset`."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import webdataset

        info = get_worker_info()
        urls = self.urls if info is None else self.urls[info.id :: info.num_workers]
        if not urls:
            return
        options = {"shardshuffle": False, "nodesplitter": None, "workersplitter": None}
        for sample in webdataset.WebDataset(urls, **options):
            yield window(np.load(io.BytesIO(sample["npy"])))


def reading_rows(source: Path, folder: Path) -> Iterator[Row]:
    """Measure random windows of two seconds from the same recordings, in four layouts, with 1, 2 and 4 workers."""
    corpora = {name: folder / f"read-{name}" for name in ("webdataset", "parquet")}
    for name, out in corpora.items():
        encode_corpus([source], out, Settings(format=name, shard_items=PER_SHARD), Engine())
    dataset = TokenDataset(corpora["webdataset"], columns=())
    codes = [dataset[i]["codes"] for i in range(len(dataset))]
    (folder / "npz").mkdir()
    for i, each in enumerate(codes):
        np.savez(folder / "npz" / f"{i:06d}.npz", codes=each)
    urls = []
    for i in range(0, len(codes), PER_SHARD):
        urls.append(str(folder / f"npy-{i:06d}.tar"))
        with tarfile.open(urls[-1], "w") as tar:
            for j, each in enumerate(codes[i : i + PER_SHARD]):
                stream = io.BytesIO()
                np.save(stream, each)
                add(tar, f"{i + j:06d}.npy", stream.getvalue())
    layouts: dict[str, Any] = {
        "TokenStream, webdataset": TokenStream(TokenDataset(corpora["webdataset"], FRAMES, columns=())),
        "TokenStream, parquet": TokenStream(TokenDataset(corpora["parquet"], FRAMES, columns=())),
        ".npz files": NpzWindows(sorted((folder / "npz").iterdir())),
        "WebDataset of .npy": NpyTars(urls),
    }
    for name, each in layouts.items():
        yield {"part": "reading", "what": f"{name}, in this process", "codes_per_cpu": throughput(each, 0, time.process_time)}
    for n_workers in (1, 2, 4):
        for name, each in layouts.items():
            yield {"part": "reading", "what": f"{name}, {n_workers} workers", "codes_per_second": throughput(each, n_workers)}


def throughput(dataset: Any, n_workers: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the codes per second of a DataLoader, in epochs one after the other, without the start of its workers."""
    is_stream = isinstance(dataset, IterableDataset)
    loader = DataLoader(
        dataset, batch_size=BATCH, num_workers=n_workers, collate_fn=Collate(), shuffle=None if is_stream else True,
        persistent_workers=n_workers > 0,
    )  # fmt: skip
    for _ in loader:  # the workers start, and the files come into memory
        pass
    n_codes, began = 0, clock()
    while clock() - began < EPOCH_SECONDS:
        for batch in loader:
            n_codes += batch["codes"].numel()
            assert isinstance(batch["codes"], torch.Tensor)
    return n_codes / (clock() - began)
