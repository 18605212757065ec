"""The scripts that people tokenise with today, beside `ecdc corpus`: the shape of EnCodec at 24 kHz, random weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from ..codec.audio import resample_all
from ..codec.checkpoints import save
from ..codec.light.export import export_model
from ..codec.threads import settle_torch
from ..corpus import Engine, Settings, encode_corpus
from .speed import our_encodec, peer_encodec

KBPS, BATCH = 6.0, 8
Row = dict[str, Any]


class Recordings(Dataset):
    """Recordings at 24 kHz, mono."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> np.ndarray:
        audio, rate = soundfile.read(self.paths[i], dtype="float32", always_2d=True)
        return resample_all(np.ascontiguousarray(audio.mean(axis=1)[None]), rate, 24_000)[0]


def transformers_loop(paths: list[Path], output: Path) -> None:
    """Encode with transformers' EncodecModel in a DataLoader, in padded batches, and save an .npz for each recording."""
    from transformers import EncodecConfig, EncodecModel

    model = EncodecModel(EncodecConfig()).eval()

    def collate(waves: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, waves))
        batch = np.stack([np.pad(wave, (0, longest - len(wave))) for wave in waves])
        mask = np.stack([np.arange(longest) < len(wave) for wave in waves])
        return torch.from_numpy(batch)[:, None], torch.from_numpy(mask)

    number = 0
    for wav, mask in DataLoader(Recordings(paths), BATCH, collate_fn=collate, num_workers=1):
        codes = model.encode(wav, mask, bandwidth=KBPS).audio_codes[0]
        for each, own in zip(codes, mask, strict=True):
            n_frames = -(-int(own.sum()) // 320)
            np.savez(output / f"{number}.npz", codes=each[:, :n_frames].numpy().astype(np.uint16))
            number += 1


def encodec_loop(paths: list[Path], output: Path) -> None:
    """Encode with PyPI's encodec, one recording after the other."""
    recordings, model = Recordings(paths), peer_encodec(KBPS, seed=0)
    for i in range(len(recordings)):
        frames = model.encode(torch.from_numpy(recordings[i])[None, None])
        codes = torch.cat([codes for codes, _ in frames], dim=-1)[0]
        np.savez(output / f"{i}.npz", codes=codes.numpy().astype(np.uint16))


def peer_rows(folder: Path, seconds: float, timed: Callable[[Callable[[], object]], tuple[float, float]]) -> Iterator[Row]:
    """Measure the three ways on the same recordings, with one thread per process."""
    settle_torch()
    torch.set_num_threads(1)
    paths = sorted((folder / "in").iterdir())
    save(our_encodec(KBPS, seed=0), folder / "model")
    export_model(folder / "model", folder / "graphs")
    for name in ("transformers", "encodec"):
        (folder / name).mkdir()
    settings = {name: Settings(model=str(folder / name), shard_mb=4) for name in ("model", "graphs")}
    one = Engine(workers=1, threads=1)
    calls = {
        "transformers in a DataLoader": lambda: transformers_loop(paths, folder / "transformers"),
        "a loop over PyPI's encodec": lambda: encodec_loop(paths, folder / "encodec"),
        "ecdc corpus, torch, 1 worker": lambda: encode_corpus([folder / "in"], folder / "a", settings["model"], one),
        "ecdc corpus, onnxruntime, 1 worker": lambda: encode_corpus([folder / "in"], folder / "b", settings["graphs"], one),
        "ecdc corpus, onnxruntime, 2 workers": lambda: encode_corpus(
            [folder / "in"], folder / "c", settings["graphs"], Engine(workers=2)
        ),
    }
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        for what, call in calls.items():
            wall, used = timed(call)
            size = sum(path.stat().st_size for path in folder.rglob("*.npz"))
            row = {"part": "peers", "what": what, "seconds": wall, "x_real_time": seconds / wall, "x_per_cpu": seconds / used}
            yield row | {"bytes_npz": size, "audio_seconds": seconds}
    (folder / "done.json").write_text(json.dumps({"kbps": KBPS}))
