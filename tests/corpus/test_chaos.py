"""Slow: real runs that are killed at random, disks that are full, and many small files with damaged ones among them."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import soundfile
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.corpus.verify import describe_corpus, verify_corpus

from .conftest import rows, tree, write_sound
from .test_local import command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Sixty recordings of up to two seconds."""
    folder = tmp_path_factory.mktemp("source")
    for i in range(60):
        write_sound(folder / f"{i:03d}.wav", i, seconds=0.3 + 0.03 * i)
    return folder


def workers_of(pid):
    """The worker processes of a run."""
    with contextlib.suppress(OSError):
        children = [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]  # noqa: SIM115
        return [child for child in children if b"spawn_main" in open(f"/proc/{child}/cmdline", "rb").read()]
    return []


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
@pytest.mark.parametrize("form", ["webdataset", "parquet", "lhotse-shar"])
def test_random_kills_of_workers_drivers_and_runs(source, settings, tmp_path, form):
    words = ["--format", form, "--shard-items", "5", "--workers", "2"]
    subprocess.run(command(source, tmp_path / "whole", settings, *words), check=True)
    out, rng = tmp_path / "out", random.Random(form)
    for _ in range(12):
        run = subprocess.Popen(command(source, out, settings, *words), start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.3, 3))
        victim = rng.choice(["worker", "driver", "all"])
        with contextlib.suppress(ProcessLookupError, IndexError):
            if victim == "worker":
                os.kill(rng.choice(workers_of(run.pid)), signal.SIGKILL)
                time.sleep(rng.uniform(0, 1))
            if victim == "driver":
                os.kill(run.pid, signal.SIGKILL)
            else:
                os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    subprocess.run(command(source, out, settings, *words), check=True)
    assert tree(out) == tree(tmp_path / "whole")
    assert verify_corpus(out) == []


def test_two_runs_at_once_do_no_harm(source, settings, tmp_path):
    words = ["--shard-items", "5", "--workers", "1"]
    runs = [subprocess.Popen(command(source, tmp_path / "out", settings, *words)) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    subprocess.run(command(source, tmp_path / "whole", settings, *words), check=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to mount a file system")
@pytest.mark.parametrize("kilobytes", [8, 40, 76, 96, 120])
def test_a_small_disk(source, settings, tmp_path, kilobytes):
    """A disk that is really full: one line, no partial file; after room was made, the same command ends the work."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("cannot mount a file system")
    try:
        words = command(source, disk / "out", settings, "--shard-items", "5", "--workers", "2")
        full = subprocess.run(words, capture_output=True, text=True)
        assert (full.returncode == 1 and "No space left" in full.stderr + full.stdout) or "no space left" in full.stderr
        assert len(full.stderr.strip().splitlines()) == 1 and "Traceback" not in full.stderr
        assert not [name for name in tree(disk) if name.rsplit("/", 1)[-1].startswith(".")]
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        subprocess.run(words, check=True)
        subprocess.run(command(source, tmp_path / "whole", settings, "--shard-items", "5"), check=True)
        assert tree(disk / "out") == tree(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_ten_thousand_small_files_with_a_hundred_damaged_ones(settings, tmp_path):
    """Nothing is lost, and every failure is named."""
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(24_000)).astype(np.float32)
    damaged = set(rng.choice(10_000, 100, replace=False).tolist())
    kinds = ("cut", "empty", "text", "zeros", "noise")
    for i in range(10_000):
        path = folder / f"{i // 1000}" / f"{i:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = int(rng.integers(0, 12_000))
        soundfile.write(path, noise[start : start + int(rng.integers(200, 4_000))], 24_000)
        if i in damaged:
            data, kind = path.read_bytes(), kinds[i % 5]
            wrong = {"cut": data[: len(data) // 2], "empty": b"", "text": b"<html>not found</html>", "zeros": bytes(len(data)),
                     "noise": rng.bytes(len(data))}  # fmt: skip
            path.write_bytes(wrong[kind])
    import dataclasses

    found = encode_corpus([folder], tmp_path / "out", dataclasses.replace(settings, shard_items=700), Engine(workers=2))
    assert found["counts"] == {"items": 10_000, "done": 9_900, "failed": 100, "shards": 15}
    lines = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert {int(line["key"].rpartition("/")[2]) for line in lines} == damaged and all(line["reason"] for line in lines)
    keys = [columns["key"] for columns, _ in rows(tmp_path / "out")]
    assert len(set(keys)) == len(keys) == 9_900
    assert describe_corpus(tmp_path / "out")["is_complete"] and verify_corpus(tmp_path / "out") == []
    shutil.rmtree(folder)
