"""The benchmarks beside audiocraft and transformers run, and their rows have what the tables need."""

import importlib.util
import json

import pytest
import torch
from click.testing import CliRunner
from ecdc.bench import mbd_peer, musicgen_peer, peers

ABOUT = {"device", "threads", "torch", "seed", "commit", "settings", "rows", "memory_mb"}


def run(command, *args, path):
    result = CliRunner().invoke(command, [*args, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(path.read_text())
    assert found.keys() >= ABOUT
    return found, result.output


def test_diffusion_beside_audiocraft(tmp_path, monkeypatch):
    if not all(importlib.util.find_spec(name) for name in ("audiocraft", "julius")):  # audiocraft itself cannot be imported
        pytest.skip("audiocraft or julius is not installed")
    monkeypatch.setattr(mbd_peer, "in_subprocess", lambda function, *args: function(*args))  # a process takes seconds to import
    monkeypatch.setattr(mbd_peer, "FULL_STEPS", 4)
    sizes = ["--hidden", "8", "--depth", "2", "--seconds", "0.2", "--steps", "1", "--turns", "2", "--memory-seconds", "1"]
    found, output = run(mbd_peer.main, *sizes, path=tmp_path / "mbd.json")
    assert [row["bottleneck"] for row in found["rows"]] == list(mbd_peer.BOTTLENECKS)
    for row in found["rows"]:
        assert row["ratio"] > 0 and row["peak"] > 0.1 and row["difference"] <= 1e-5 * max(1, row["peak"])
        assert all(row[name].keys() == {"seconds", "spread"} for name in (mbd_peer.PEER, mbd_peer.OURS))
    assert found["memory_mb"].keys() == {mbd_peer.PEER, mbd_peer.OURS}
    assert output.strip() == mbd_peer.markdown(found)


def test_musicgen_beside_transformers(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(musicgen_peer, "bandwidth", lambda: {"read": 10.0, "copy": 10.0})
    monkeypatch.setattr(musicgen_peer, "in_subprocess", lambda function, *args: function(*args))
    sizes = ["--dimension", "64", "--layers", "1", "--frames", "5", "--turns", "2"]
    found, output = run(musicgen_peer.main, *sizes, path=tmp_path / "musicgen.json")
    names = [musicgen_peer.PEER, musicgen_peer.FLOAT, musicgen_peer.INT8]
    assert [row["name"] for row in found["rows"]] == names == list(found["memory_mb"])
    assert all(row["codes_per_second"] > 0 and row["gb_per_step"] > 0 and row["ratio"] > 0 for row in found["rows"])
    assert found["difference"] < 1e-4 and 0 < found["drift"]["rms"] < 0.1 and found["drift"]["same_argmax"] > 0.8
    assert output.strip() == musicgen_peer.markdown(found)


def test_memory_of_a_call_is_what_it_adds():
    if not peers.STATUS.exists():
        pytest.skip("the system does not tell")
    found = peers.memory_of(lambda: torch.ones(10_000_000).sum())
    assert 30 < found["resident"] < 100
