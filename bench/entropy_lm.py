"""Train EnCodec's language model on the tokens of our prior, for the same time, to compare what both save.

    ecdc bench entropy-lm --tokens runs/prior/tokens.npy --seconds 600 --output runs/lm.safetensors

This is LMModel of PyPI's encodec at its published size. It predicts all codes of a frame in parallel from earlier frames.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from .encodec_peer import import_encodec
from .options import COUNT, SECONDS

N_FRAMES, BATCH_SIZE, CONTEXT = 375, 8, 262  # frames per batch item; batch items; past frames, as published


class TrainedLM:
    """The language model, and the code lengths under it."""

    def __init__(self, n_codebooks: int) -> None:
        torch.manual_seed(0)
        package = import_encodec()
        self.n_codebooks = n_codebooks
        self.model: Any = package.model.LMModel(n_codebooks, 1024, num_layers=5, dim=200, past_context=CONTEXT)

    @classmethod
    def load(cls, path: Path) -> TrainedLM:
        """Load a file written by `main`."""
        state = load_file(path)
        found = cls(sum(name.startswith("emb.") for name in state))
        found.model.load_state_dict(state)
        return found

    def nats(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the code length of each code in nats: codes [B, K, T] -> [B, K, T]."""
        before = torch.nn.functional.pad(codes[..., :-1] + 1, (1, 0))
        probabilities, _, _ = self.model(before)  # [B, V, K, T]
        return -probabilities.gather(1, codes[:, None]).clamp(min=1e-12).log()[:, 0]

    @torch.no_grad()
    def bits(self, clips: Sequence[np.ndarray]) -> float:
        """Return the ideal code length in bits of all clips' codes [K, T], with K as in training and a new context per clip."""
        self.model.eval()
        nats = (float(self.nats(torch.from_numpy(codes.astype(np.int64))[None]).sum()) for codes in clips)
        return sum(nats) / math.log(2)


def train(tokens: np.ndarray, n_codebooks: int, seconds: float, report: Any = print) -> TrainedLM:
    """Train for `seconds`; the learning rate falls linearly to zero over that time. tokens is [rows, K, T]."""
    lm, generator = TrainedLM(n_codebooks), np.random.default_rng(0)
    lm.model.train()
    optimizer = torch.optim.Adam(lm.model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)
    began, step, window = time.monotonic(), 0, []
    while (passed := time.monotonic() - began) < seconds:
        rows, firsts = (
            generator.integers(len(tokens), size=BATCH_SIZE),
            generator.integers(tokens.shape[2] - N_FRAMES, size=BATCH_SIZE),
        )
        codes = np.stack([tokens[i, :n_codebooks, a : a + N_FRAMES] for i, a in zip(rows, firsts, strict=True)])
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * (1 - passed / seconds)
        optimizer.zero_grad(set_to_none=True)
        loss = lm.nats(torch.from_numpy(codes.astype(np.int64))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lm.model.parameters(), 1.0)
        optimizer.step()
        window.append(loss.item() / math.log(2))
        step += 1
        if step % 50 == 0:
            report(f"step {step}  {passed:.0f} s  {np.mean(window):.3f} bits a code")
            window.clear()
    return lm


@click.command()
@click.option(
    "--tokens", type=click.Path(path_type=Path, exists=True), required=True, help="Tokens that `ecdc train prior` collected."
)
@click.option("--seconds", type=SECONDS, default=600.0, show_default=True)
@click.option("--codebooks", type=COUNT, default=8, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(tokens: Path, seconds: float, codebooks: int, output: Path) -> None:
    """Train EnCodec's language model on tokens, and keep its weights."""
    lm = train(np.load(tokens, mmap_mode="r", allow_pickle=False), codebooks, seconds)
    save_file({name: value.contiguous() for name, value in lm.model.state_dict().items()}, output)


if __name__ == "__main__":
    main()
