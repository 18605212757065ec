"""Ray: the bytes of the local engine, also if actors or the whole run are killed."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from ecdc.corpus import ray_engine
from ecdc.corpus.errors import CorpusError
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.corpus.store import Store

from .conftest import tree
from .test_local import command


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nobody", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer_is_one_line(recordings, settings, tmp_path, address):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
    with pytest.raises(CorpusError, match=r"does not answer|must be HOST:PORT") as caught:
        encode_corpus([recordings], tmp_path / "out", settings, Engine("ray", address=address))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_an_actor_makes_the_shards_of_the_local_engine(recordings, corpus, settings, tmp_path, monkeypatch):
    """The actor's own code, without Ray's processes; a test of those is below."""

    def run_in_ray(shards, task, n_workers, address, event):
        actor = ray_engine.Actor(task)
        for shard in shards:
            job = ray_engine.zlib.compress(ray_engine.pickle.dumps((shard.index, shard.items)))
            record = json.loads(actor({"job": [job]})["record"][0])
            assert record["worker"] == actor.name and record["shard"] == shard.index

    monkeypatch.setattr(ray_engine, "run_in_ray", run_in_ray)
    encode_corpus([recordings], tmp_path / "out", settings, Engine("ray"))
    assert tree(tmp_path / "out") == tree(corpus)


def test_what_a_killed_ray_run_leaves_is_removed(recordings, corpus, settings, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    ray_engine.Attempts(Store(out), 1)("begin", 2)
    assert tree(out) != tree(corpus)
    encode_corpus([recordings], out, settings, Engine(workers=1))
    assert tree(out) == tree(corpus)


def test_an_item_that_kills_its_actor_is_given_up(tmp_path):
    store = Store(tmp_path)
    for i in range(ray_engine.TRIES):
        attempts = ray_engine.Attempts(store, 7)
        assert not attempts.skip, i
        attempts("begin", 0)
        attempts("begin", 4)
    attempts = ray_engine.Attempts(store, 7)
    assert list(attempts.skip) == [4]
    attempts.end()
    assert not tree(tmp_path)


@pytest.mark.slow
def test_ray_makes_the_bytes_of_the_local_engine(recordings, corpus, settings, tmp_path):
    pytest.importorskip("ray")
    words = command(recordings, tmp_path / "out", settings, "--engine", "ray", "--workers", "2", "--json")
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shards_made"] == 3 and "Traceback" not in done.stderr
    assert tree(tmp_path / "out") == tree(corpus)


def pids_of_actors():
    """Processes of Ray's actors that hold a worker of ours."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            line = open(f"/proc/{int(name)}/cmdline", "rb").read()  # noqa: SIM115
            if b"ray::" in line and b"MapBatches" in line:
                found.append(int(name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_ray_with_actors_that_are_killed(recordings, corpus, settings, tmp_path):
    pytest.importorskip("ray")
    words = command(recordings, tmp_path / "out", settings, "--engine", "ray", "--workers", "2")
    killed, stop = [], threading.Event()

    def kill():
        while not stop.wait(0.05) and not killed:
            for pid in pids_of_actors():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    stop.set()
    thread.join()
    assert done.returncode == 0, done.stderr
    assert killed and tree(tmp_path / "out") == tree(corpus)


@pytest.mark.slow
def test_a_ray_run_that_is_killed_continues(recordings, corpus, settings, tmp_path):
    pytest.importorskip("ray")
    words = command(recordings, tmp_path / "out", settings, "--engine", "ray", "--workers", "2")
    first = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while not (tmp_path / "out" / "records").exists() and first.poll() is None and time.monotonic() - began < 600:
        time.sleep(0.02)
    time.sleep(random.random() / 5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    subprocess.run(command(recordings, tmp_path / "out", settings, "--workers", "1"), check=True, timeout=300)
    assert tree(tmp_path / "out") == tree(corpus)
