"""The measurement of encoder effort: every effort at every bitrate, with its time, and codes that are cut later."""

import numpy as np
import pytest
from ecdc.bench import effort
from ecdc.bench.corpus import Clip


@pytest.fixture
def rows(codec, monkeypatch):
    monkeypatch.setattr(effort, "measures", lambda clip, audio, *_: {"si_sdr": float(np.square(audio).sum())})
    audio = 0.1 * np.random.default_rng(0).standard_normal(12_000).astype(np.float32)
    clip = Clip("noise", "sounds", audio, 24_000, 24_000)
    return effort.compare(codec, clip, effort.DISTINCT, (0.9, 1.8), (1.8, 0.9))


def test_every_effort_has_a_row_at_every_bitrate(rows):
    names = [f"effort {n}" for n in effort.DISTINCT]
    plain = [row for row in rows if "peeled" not in row]
    assert [(row["codec"], row["kbps"]) for row in plain] == [(name, kbps) for kbps in (0.9, 1.8) for name in names]
    assert all(row["time"] == 1 for row in plain if row["codec"] == names[0]) and all(row["time"] > 0 for row in plain)
    peeled = [row for row in rows if "peeled" in row]
    assert [(row["codec"], row["kbps"], row["peeled"]) for row in peeled] == [(name, 0.9, 1.8) for name in names]


def test_greedy_codes_that_are_cut_are_those_of_fewer_codebooks(rows):
    greedy = [row["si_sdr"] for row in rows if row["codec"] == "effort 0" and row["kbps"] == 0.9]
    assert len(greedy) == 2 and greedy[0] == greedy[1]


def test_tables(rows):
    plain, peeled = effort.tables(rows)
    assert plain.count("effort") == 2 * len(effort.DISTINCT) and "encode time" in plain
    assert "Encoded at 1.8 kbps and cut" in peeled
