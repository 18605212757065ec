"""The comparison of decoders: what is equal differs by nothing, what is quieter by its decibels."""

import numpy as np
import pytest
from ecdc.bench import decoders
from ecdc.bench.corpus import Clip


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    return Clip("noise", "music", (0.1 * rng.standard_normal(48_000)).astype(np.float32), 24_000)


def test_bands_of_equal_and_of_quieter_audio(clip, monkeypatch):
    monkeypatch.setattr(decoders, "METRICS", ("mel", "si_sdr"))
    same, quiet = decoders.measures(clip, clip.audio), decoders.measures(clip, clip.audio / 2)
    for low, high in ((0, 1500), (1500, 3000), (3000, 6000), (6000, 12_000), (4000, 12_000)):
        for name in ("level", "distance"):
            assert same[f"{name} {low}-{high}"] == 0
            assert quiet[f"{name} {low}-{high}"] == pytest.approx(6.02, abs=0.1)


def test_a_table_of_pairs():
    one = dict.fromkeys((*decoders.METRICS, "hum"), 1.0)
    bands = ("0-1500", "1500-3000", "3000-6000", "6000-12000", "4000-12000")
    one |= {f"{name} {band}": 2.0 for name in ("level", "distance") for band in bands}
    rows = [
        {"clip": name, "kind": "music", "kbps": 3.0, "conv": one, "mbd": {key: value + i for key, value in one.items()}}
        for i, name in enumerate("ab")
    ]
    table = decoders.markdown(rows)
    assert "2 clips" in table and "| +0.50 ± 0.50 |" in table
