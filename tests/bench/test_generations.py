"""Repeated coding: each generation codes what the one before it decoded."""

import numpy as np
import torch
from ecdc.bench.generations import GENERATIONS, markdown, recode


class Halver:
    """A codec that rounds samples and halves them, with one codebook."""

    def encode(self, wav, n_codebooks):
        assert n_codebooks == 1
        return (100 * wav).round().long()

    def decode(self, codes, n_samples):
        return codes[..., :n_samples] / 200


def test_each_generation_codes_the_one_before():
    wav = np.array([[0.8, -0.4, 0.001]], np.float32)
    found = recode(Halver(), wav, 1, 3)
    assert [codes[0].tolist() for codes, _ in found] == [[80, -40, 0], [40, -20, 0], [20, -10, 0]]
    assert torch.allclose(torch.from_numpy(found[-1][1]), torch.tensor([[0.1, -0.05, 0.0]]))


def test_the_table_has_a_line_for_each_generation_and_ignores_undefined_scores():
    rows = [
        {"clip": clip, "codec": "a/b/c", "kbps": 6.0, "generation": g, "kept": 1 / g, "pesq": pesq}
        for g in GENERATIONS
        for clip, pesq in (("x", 2.0), ("y", None))
    ]
    lines = markdown(rows, ("pesq",)).splitlines()
    assert len(lines) == 2 + len(GENERATIONS)
    assert lines[2:] == ["| 6 | b/c | 1 | 100% | 2.00 |", "| 6 | b/c | 3 | 33% | 2.00 |", "| 6 | b/c | 5 | 20% | 2.00 |"]
