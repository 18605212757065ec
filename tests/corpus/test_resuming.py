"""Runs that end early, in parts, or beside others go on to the same bytes; damaged plans and records are one line."""

import contextlib
import dataclasses
import errno
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from ecdc.corpus import local, work
from ecdc.corpus.dataset import TokenDataset
from ecdc.corpus.errors import CorpusError
from ecdc.corpus.run import Engine, encode_corpus, plan_corpus, run_job
from ecdc.corpus.settings import Settings
from ecdc.corpus.verify import describe_corpus, verify_corpus

from .conftest import command, tree


def test_parts_of_the_work_make_the_whole(recordings, corpus, settings, tmp_path):
    for part in ((3, 4), (2, 3), (0, 3), (1, 3)):  # the first of them has no shard
        found = encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=1, part=part))
        assert found["is_complete"] == (part == (1, 3))
    assert tree(tmp_path / "out") == tree(corpus)


def test_a_finished_shard_is_kept_and_a_missing_one_is_made(recordings, corpus, settings, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    (out / "shard-000001.tar").write_bytes(b"cut")
    made = []
    encode_corpus([recordings], out, settings, Engine(workers=1), event=lambda w, kind, v: made.append((kind, v)))
    assert [value["shard"] for kind, value in made if kind == "done"] == [1]
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    assert {name for name in after if after[name] != before[name]} == {"shard-000001.tar"}
    assert tree(out) == tree(corpus)


@pytest.mark.parametrize("after", [0.6, 1.1])
def test_a_run_that_is_killed_continues(recordings, corpus, settings, tmp_path, after):
    out = tmp_path / "out"
    first = subprocess.Popen(command(recordings, out, settings, "--workers", "2"), start_new_session=True)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    subprocess.run(command(recordings, out, settings, "--workers", "1"), check=True)
    assert tree(out) == tree(corpus)


def test_a_killed_worker_is_replaced(recordings, corpus, settings, tmp_path, monkeypatch):
    started, kept = [], local._Process

    def process(task):
        started.append(kept(task))
        return started[-1]

    killed = []

    def event(worker, kind, value):
        if kind == "begin" and len(killed) < 2:
            killed.append(worker)
            started[-1 if worker else 0]._process.kill()

    monkeypatch.setattr(local, "_Process", process)
    encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=2), event=event)
    assert len(killed) == 2 and len(started) > 2
    assert tree(tmp_path / "out") == tree(corpus)


class Poisoned:
    """Stands for a process that dies whenever it reads the second item of the first shard."""

    def __init__(self, task):
        self.worker = work.Worker(task)
        self.connection, self.theirs = multiprocessing.Pipe()
        self.shard, self.at = None, local.BEFORE

    def give(self, shard):
        self.shard, self.at = shard, local.BEFORE
        if shard.index == 0 and 1 not in shard.skip:
            self.theirs.send(("begin", 0))
            self.theirs.send(("begin", 1))
            self.theirs.close()
        else:
            self.theirs.send(("done", self.worker.make(shard.index, shard.items, skip=shard.skip)))

    def stop(self):
        pass


def test_a_recording_that_kills_its_process_is_given_up(recordings, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_Process", Poisoned)
    died = []
    found = encode_corpus(
        [recordings], tmp_path / "out", settings, Engine(workers=2), event=lambda w, kind, v: died.append(kind == "died")
    )
    assert sum(died) == local.TRIES and found["counts"]["failed"] == 3 and found["counts"]["done"] == 9
    assert "killed its process" in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()[0]


def test_leftovers_of_killed_workers_are_removed(recordings, corpus, settings, tmp_path):
    """A worker that is killed while it writes leaves a hidden file, of a process that no longer runs."""
    from ecdc.format.files import partial_path

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()

    def event(worker, kind, value):
        if kind == "done":
            name = partial_path(tmp_path / "out" / "shard-000000.tar").name
            (tmp_path / "out" / name.replace(f"-{os.getpid():x}-", f"-{dead.pid:x}-")).touch()

    encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=1), event=event)
    assert tree(tmp_path / "out") == tree(corpus)


def test_a_full_disk_stops_the_run_which_then_continues(recordings, corpus, settings, tmp_path, monkeypatch):
    out, written, kept = tmp_path / "out", [], tarfile.TarFile.addfile

    def full(self, member, fileobj=None):
        written.append(member.name)
        if len(written) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return kept(self, member, fileobj)

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(OSError, match="No space left"):
        encode_corpus([recordings], out, settings, Engine(workers=1))
    assert len(list(out.glob("shard-*"))) == 1 and not list(out.rglob(".*"))
    monkeypatch.setattr(tarfile.TarFile, "addfile", kept)
    encode_corpus([recordings], out, settings, Engine(workers=1))
    assert tree(out) == tree(corpus)


def test_a_full_disk_is_no_failure_of_a_recording(recordings, settings, tmp_path, monkeypatch):
    def full(self, shard, items, tell, skip=None):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out")

    monkeypatch.setattr(work.Worker, "make", full)
    with pytest.raises(OSError, match="No space left"):
        encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=1))
    assert not (tmp_path / "out" / "failures.jsonl").exists()


@pytest.mark.parametrize("ends_by", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), EOFError(), BrokenPipeError()], ids=repr)
def test_a_worker_that_has_ended_its_work_is_not_interrupted_any_more(monkeypatch, ends_by):
    """The parent ends processes that are ending by themselves: an interrupt at this time would print a traceback."""

    def fail(task):
        raise ends_by

    monkeypatch.setattr(local, "Worker", fail)
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    here, there = multiprocessing.Pipe()
    try:
        local._serve(there, None)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
    assert not here.poll() or here.recv()[0] == "failed"


def test_failed_recordings_are_tried_again(recordings, corpus, settings, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(recordings, source)
    good = (source / "8-one.wav").read_bytes()
    size = (source / "8-short.wav").stat().st_size
    encode_corpus([source], out, settings, Engine(workers=1))
    with tarfile.open(out / "shard-000002.tar") as tar:
        assert "8-short.ecdc" not in tar.getnames()
    riff, data = ((size - n).to_bytes(4, "little") for n in (8, 44))
    (source / "8-short.wav").write_bytes((good[:4] + riff + good[8:40] + data + good[44:])[:size])
    found = encode_corpus([source], out, settings, Engine(workers=1), retry_failed=True)
    assert found["counts"]["failed"] == 1 and verify_corpus(out) == []


def test_bad_input_is_one_line(recordings, corpus, settings, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("a")
    for sources, output, text in [
        ([tmp_path / "nothing"], tmp_path / "o", "no such file"),
        ([tmp_path / "empty"], tmp_path / "o", "holds no audio"),
        ([tmp_path / "text"], tmp_path / "o", "holds no audio; 1 other"),
        ([recordings], recordings, "is the output"),
        ([corpus / "records"], corpus, "is the output, or inside"),
        ([recordings], recordings / "notes.txt", "is a file"),
        ([recordings / "4-one.wav", recordings], corpus, "other sources"),
    ]:
        with pytest.raises((CorpusError, OSError), match=text) as caught:
            plan_corpus(sources, output, settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(CorpusError, match=r"holds tokens of random-24k .*, not of nano-24k"):
        plan_corpus([recordings], corpus, Settings(model="nano-24k", shard_items=4, kbps=1.5))
    assert not (tmp_path / "o").exists()


def test_plans_of_versions_without_a_setting_go_on(recordings, corpus, settings, tmp_path):
    """A setting that an older version did not have has its default there."""
    shutil.copytree(corpus, tmp_path / "out")
    plan = tmp_path / "out" / "plan.json"
    about = json.loads(plan.read_text())
    del about["settings"]["effort"]
    plan.write_text(json.dumps(about))
    assert not plan_corpus([recordings], tmp_path / "out", settings).todo
    with pytest.raises(CorpusError, match="was begun with effort 0, not 4"):
        plan_corpus([recordings], tmp_path / "out", dataclasses.replace(settings, effort=4))
    with pytest.raises(ValueError, match="effort must be 0 to 10, got 11"):
        plan_corpus([recordings], tmp_path / "new", dataclasses.replace(settings, effort=11))


def test_a_copy_of_a_record_is_ignored(recordings, corpus, settings, tmp_path):
    """As programs that synchronise folders leave them."""
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    shutil.copy(out / "records" / "000000.json", out / "records" / "000000 (1).json")
    subprocess.run(command(recordings, out, settings), check=True, timeout=100)
    (out / "records" / "000000 (1).json").unlink()
    assert tree(out) == tree(corpus)


def test_a_plan_of_countless_shards_is_verified_at_once(corpus, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    plan = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps(plan | {"shards": plan["shards"] + 10**18}))
    assert verify_corpus(out)[0].startswith(f"{10**18} of {plan['shards'] + 10**18} shards are not made yet")


TEXT_FAULTS = ("", "[]", "[" * 100_000, "{}", "\0")
RECORD_FAULTS = {
    "files": [None, "x", [1], [{"name": 5, "bytes": 1, "sha256": "x"}], [{"name": "../x", "bytes": 1, "sha256": "x"}]],
    "shard": [1, -1, "0"], "done": ["x", None, 99], "seconds": [None, math.inf], "failures": [3, [3]],
    "frames": [None, ["x"] * 4], "beyond_full_scale": [5, ["x"], [{"key": "a", "samples": 1}]], "damaged": [5, [{"key": "a"}]],
}  # fmt: skip
PLAN_FAULTS = {
    "settings": [[], {}], "shards": ["x", None], "items": [None], "model": [5], "codebooks": [{"1": ["x"]}, {}], "columns": [1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *((name, None, text) for name in ("plan.json", "records/000000.json") for text in TEXT_FAULTS),
        *(("records/000000.json", field, value) for field, values in RECORD_FAULTS.items() for value in values),
        *(("plan.json", field, value) for field, values in PLAN_FAULTS.items() for value in values),
    ],
)
def test_damaged_plans_and_records_are_one_line(recordings, corpus, settings, tmp_path, name, field, value):
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    text = json.dumps(json.loads((out / name).read_text()) | {field: value}) if field else value
    (out / name).write_text(text)
    for read in (
        lambda: plan_corpus([recordings], out, settings), lambda: describe_corpus(out), lambda: verify_corpus(out),
        lambda: TokenDataset(out),
    ):  # fmt: skip
        with pytest.raises(CorpusError, match=rf"{name}: is damaged; remove it") as caught:
            read()
        assert "\n" not in str(caught.value)
    (out / name).unlink()
    encode_corpus([recordings], out, settings, Engine(workers=1))
    assert tree(out) == tree(corpus)


def test_without_its_plan_no_shard_is_kept(recordings, corpus, settings, tmp_path):
    """Nobody knows the bitrate of shards whose plan is gone."""
    out, other = tmp_path / "out", dataclasses.replace(settings, kbps=0.9, shard_items=6)
    shutil.copytree(corpus, out)
    (out / "plan.json").unlink()
    encode_corpus([recordings], out, other, Engine(workers=1))
    encode_corpus([recordings], tmp_path / "new", other, Engine(workers=1))
    assert tree(tmp_path / "new").items() <= tree(out).items()
    assert tree(out).keys() - tree(tmp_path / "new").keys() == {"shard-000002.tar"}
    assert verify_corpus(out) == ["shard-000002.tar: has no record; remove it, or give the same command again"]


def test_of_two_different_runs_that_begin_at_once_one_goes_on(recordings, corpus, settings, tmp_path):
    out = tmp_path / "out"
    other = plan_corpus([recordings], out, dataclasses.replace(settings, kbps=0.9))
    one = plan_corpus([recordings], out, settings)
    run_job(one, Engine(workers=1))
    with pytest.raises(CorpusError, match=r"was begun with kbps 1.35, not 0.9"):
        run_job(other, Engine(workers=1))
    assert tree(out) == tree(corpus)
