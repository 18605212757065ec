"""Losses of packets, and tables that show what was not measured."""

import numpy as np
import pytest
from click import ClickException
from ecdc.bench import loss


def row(system, **scores):
    return {"clip": "a", "system": system, "loss": 0.1, "burst": 1.0, "kbps": 6.0, **scores}


def test_a_score_that_is_missing_is_shown_as_missing():
    rows = [row("ours", pesq=2.0, stoi=None), row("ours", pesq=3.0, stoi=None), row("theirs", pesq=None, stoi=0.5)]
    lines = loss.markdown(rows, ("pesq", "stoi")).splitlines()
    assert lines[2:] == ["| 10% | ours | 6.00 | 2.50 | - |", "| 10% | theirs | 6.00 | - | 0.50 |"]


def test_the_short_table_has_what_a_caller_can_choose():
    rows = [row(name) for name in ("nano-24k, repeat", "nano-48k, copies", "opus", "opus, 16 kbps")]
    assert [found["system"] for found in loss.selected(rows)] == ["nano-48k, copies", "opus, 16 kbps"]
    assert not loss.selected([row("nano-48k, copies") | {"loss": 0.05}])


def test_a_metric_that_is_not_installed_is_refused_before_the_run(monkeypatch):
    monkeypatch.setattr(loss, "score", lambda key, *_: (None, "needs a package") if key == "pesq" else (1.0, ""))
    loss.check_metrics(["stoi"])
    with pytest.raises(ClickException, match="pesq: needs a package"):
        loss.check_metrics(["stoi", "pesq"])


def test_losses_hit_all_systems_alike():
    """They depend on the seed alone, have the share asked for, and come in bursts of the length asked for."""
    lost = loss.lost_ticks(1000, 0.1, 3.0, seed=5)
    assert np.array_equal(lost, loss.lost_ticks(1000, 0.1, 3.0, seed=5))
    assert not np.array_equal(lost, loss.lost_ticks(1000, 0.1, 3.0, seed=6))
    n_bursts = np.count_nonzero(np.diff(lost.astype(int), prepend=0) == 1)
    assert lost.mean() == pytest.approx(0.1, abs=0.01) and lost.sum() / n_bursts == pytest.approx(3, abs=0.2)
