"""Batches of samples: padded to one length with a mask, in tensors or arrays, optionally in a delay pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..format.arguments import whole_number
from .errors import CorpusError, library

MOST_DELAY = 1 << 16  # columns


@dataclass(frozen=True)
class Collate:
    """Makes a batch of the samples of a TokenDataset: a DataLoader's `collate_fn`.

    `codes` int64 [B, R, T] with `pad` after the end of shorter samples, `mask` bool [B, T], and a list for every other
    column. With `delays`, one for each codebook such as (0, 1, 2, 3), codes are [B, R, S] in MusicGen's delay pattern, all
    cells without a code hold `pad`, and `mask` is [B, R, S]. `pad` is usually the codebook size V, as one more token.
    """

    pad: int = 0
    delays: Sequence[int] | None = None
    tensors: bool = True  # torch tensors; otherwise numpy arrays

    def __post_init__(self) -> None:
        """Raises ArgumentError for numbers that are none, or too large."""
        whole_number("pad", self.pad, -(2**63), 2**63 - 1)
        for delay in () if self.delays is None else self.delays:
            whole_number("a delay", delay, 0, MOST_DELAY)

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Raises CorpusError if the samples have different numbers of codebooks."""
        if not samples:
            raise CorpusError("a batch needs one sample or more")
        rows = {len(sample["codes"]) for sample in samples}
        if len(rows) != 1:
            raise CorpusError(f"the samples of a batch differ in codebooks: {sorted(rows)}; encode with --channels mono")
        n_frames = max(sample["codes"].shape[1] for sample in samples)
        codes = np.full((len(samples), rows.pop(), n_frames), self.pad, np.int64)
        mask = np.zeros((len(samples), n_frames), bool)
        for i, sample in enumerate(samples):
            own = sample["mask"]
            mask[i, : len(own)] = own
            codes[i, :, : len(own)] = np.where(own, sample["codes"], self.pad)
        batch: dict[str, Any] = {"codes": codes, "mask": mask}
        if self.delays is not None:
            batch = self._delayed(codes, mask)
        elif self.tensors:
            torch = library("torch", "torch", "a batch of tensors")
            batch = {name: torch.from_numpy(array) for name, array in batch.items()}
        return batch | {name: [s[name] for s in samples] for name in samples[0] if name not in ("codes", "mask")}

    def _delayed(self, codes: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        torch = library("torch", "torch", "a delay pattern")
        from ..plugins.musicgen.patterns import DelayPattern

        assert self.delays is not None
        if len(self.delays) != codes.shape[1]:
            raise CorpusError(f"there are {len(self.delays)} delays for {codes.shape[1]} codebooks")
        spread = DelayPattern(tuple(self.delays), self.pad).spread(torch.from_numpy(codes))
        real = np.repeat(mask[:, None], codes.shape[1], axis=1).astype(np.int64)
        is_code = DelayPattern(tuple(self.delays), 0).spread(torch.from_numpy(real)).bool()
        batch = {"codes": spread, "mask": is_code}
        return batch if self.tensors else {name: tensor.numpy() for name, tensor in batch.items()}
