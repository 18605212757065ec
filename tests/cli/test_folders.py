"""Folders: every file is taken or named, the tree is mirrored, nothing is done twice, and an interruption costs nothing."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from ecdc.cli import jobs
from ecdc.cli.folders import plan_folders
from ecdc.format.errors import EcdcError
from ecdc.format.files import partial_path, remove_leftovers

AUDIO = frozenset({".wav", ".flac", ".mp3"})


@pytest.fixture(autouse=True)
def same_threads():
    """Commands of this process leave the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(path, seed=0, seconds=0.2, rate=24_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    soundfile.write(path, (0.1 * noise).astype(np.float32), rate, format="FLAC" if path.suffix == ".flac" else "WAV")


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    for i, name in enumerate(("one.wav", "deep/two.flac", "deep/er/three.wav", "same.wav", "same.flac")):
        write(folder / name, i)
    return folder


CODED = {"one.ecdc", "deep/two.ecdc", "deep/er/three.ecdc", "same.wav.ecdc", "same.flac.ecdc"}


def plan(*folders, output_dir=None, force=False, skip=True, suffixes=AUDIO, suffix=".ecdc"):
    found = plan_folders(tuple(map(str, folders)), suffixes, suffix, output_dir and str(output_dir), force, skip)
    return found


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_every_file_is_taken_or_named(tmp_path):
    folder = tmp_path / "in"
    touch(folder, "a.wav", "b.WAV", "sub/c.mp3", "notes.txt", "sub/cover.jpg", "no_suffix", "._a.wav", ".hidden.flac")
    (folder / "gone.wav").symlink_to(tmp_path / "nothing")
    (folder / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    (folder / "link.wav").symlink_to(folder / "a.wav")
    os.mkfifo(folder / "pipe.wav")
    found = plan(folder, output_dir=tmp_path / "out")
    taken = {os.path.relpath(source, folder) for source, _ in found.jobs}
    named = {os.path.relpath(path, folder): why for path, why in found.left_out}
    assert taken == {"a.wav", "b.WAV", "sub/c.mp3", ".hidden.flac", "link.wav"}
    assert set(named) == {"notes.txt", "sub/cover.jpg", "no_suffix", "._a.wav", "gone.wav", "elsewhere", "pipe.wav"}
    assert all(named.values()) and "nothing" in named["gone.wav"] and "folder" in named["elsewhere"]


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        (["a.wav", "a.flac"], ["a.wav.ecdc", "a.flac.ecdc"]),
        (["a.wav", "a.wav.wav", "a.flac"], ["a.wav.ecdc", "a.wav.wav.ecdc", "a.flac.ecdc"]),
        (["a.wav", "A.flac"], ["a.wav.ecdc", "A.flac.ecdc"]),
        (["a.wav", "b/a.flac"], ["a.ecdc", "b/a.ecdc"]),
        (["a.b.wav", "a.c.wav"], ["a.b.ecdc", "a.c.ecdc"]),
    ],
)
def test_no_two_inputs_share_an_output(tmp_path, names, targets):
    touch(tmp_path / "in", *names)
    found = plan(tmp_path / "in", output_dir=tmp_path / "out")
    assert not found.failed
    got = {os.path.relpath(s, tmp_path / "in"): os.path.relpath(t, tmp_path / "out") for s, t in found.jobs}
    assert got == dict(zip(names, targets, strict=True))


def test_names_do_not_depend_on_what_is_done_already(tmp_path):
    touch(tmp_path / "in", "a.wav", "a.flac", "b.wav")
    whole = plan(tmp_path / "in", output_dir=tmp_path / "out").jobs
    for _, target in whole[:2]:
        touch(tmp_path, target)
        rest = plan(tmp_path / "in", output_dir=tmp_path / "out")
        assert set(rest.jobs) < set(whole) and rest.n_existing + len(rest.jobs) == len(whole)


def test_two_folders_that_collide_are_errors_not_losses(tmp_path):
    touch(tmp_path, "x/a.wav", "y/a.wav", "y/b.wav")
    found = plan(tmp_path / "x", tmp_path / "y", output_dir=tmp_path / "out")
    assert [os.path.relpath(s, tmp_path) for s, _ in found.jobs] == ["y/b.wav"]
    assert len(found.failed) == 2 and all("another input" in why for _, why in found.failed)


def test_an_output_folder_inside_is_no_input(tmp_path):
    touch(tmp_path, "in/a.wav", "in/out/b.wav", "in/out/a.ecdc")
    found = plan(tmp_path / "in", output_dir=tmp_path / "in" / "out", skip=True)
    assert (found.jobs, found.n_existing, found.left_out) == ([], 1, [])


def test_existing_outputs(tmp_path):
    touch(tmp_path, "in/a.wav", "out/a.ecdc", "in/b.wav", "in/c.wav", "out/b.ecdc/file")
    options = {"output_dir": tmp_path / "out"}
    skipped = plan(tmp_path / "in", **options)
    assert (len(skipped.jobs), skipped.n_existing) == (1, 1) and "is a folder" in skipped.failed[0][1]
    assert len(plan(tmp_path / "in", force=True, **options).jobs) == 2
    refused = plan(tmp_path / "in", skip=False, **options)
    assert len(refused.jobs) == 1 and "--force" in refused.failed[0][1]


def test_folder_to_folder_and_back(ecdc, album, tmp_path):
    (album / "broken.wav").write_text("no audio at all")
    (album / "notes.txt").write_text("text")
    done = ecdc("encode", album, "--output-dir", tmp_path / "out")
    said = done.stderr.decode()
    assert done.returncode == 1 and set(tree(tmp_path / "out")) == CODED
    assert "broken.wav" in said and "notes.txt: ignored" in said
    assert "5 encoded, 0 skipped (outputs exist), 1 failed, 1 ignored" in said
    before = tree(tmp_path / "out")
    again = ecdc("encode", album, "--output-dir", tmp_path / "out")
    assert "0 encoded, 5 skipped" in again.stderr.decode() and again.returncode == 1 and tree(tmp_path / "out") == before
    ecdc("decode", tmp_path / "out", "--output-dir", tmp_path / "back", check=True)
    names = {name.removesuffix(".ecdc") + ".wav" for name in CODED}
    assert set(tree(tmp_path / "back")) == names
    assert all(soundfile.info(tmp_path / "back" / name).frames == 4800 for name in names)


@pytest.mark.parametrize("decoder", ["conv", "mbd"])
def test_decoders_are_loaded_once_and_share_nothing_between_files(ecdc, album, tmp_path, monkeypatch, decoder):
    from ecdc.codec import checkpoints, runtime
    from ecdc.codec.light.codec import LightCodec

    loaded = []
    for module, name in ((checkpoints, "load"), (runtime, "load_light"), (LightCodec, "with_flow")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, real=real, name=name: [loaded.append(name), real(*args)][1])
    model = ["--model", "nano-24k"] if decoder == "mbd" else []
    ecdc("encode", album, *model, "--output-dir", tmp_path / "out", check=True)
    loaded.clear()
    more = ["--decoder", decoder, *(["--steps", 1] if decoder == "mbd" else [])]
    ecdc("decode", tmp_path / "out", "--output-dir", tmp_path / "back", *more, check=True)
    assert sorted(loaded) == (["load_light", "with_flow"] if decoder == "mbd" else ["load_light"])
    for name in CODED:
        ecdc("decode", tmp_path / "out" / name, "-o", tmp_path / "alone" / name.replace(".ecdc", ".wav"), *more, check=True)
    assert tree(tmp_path / "alone") == tree(tmp_path / "back")


def test_beside_the_sources_and_a_second_time(ecdc, album):
    ecdc("encode", album, check=True)
    assert set(tree(album)) >= CODED
    said = ecdc("encode", album, check=True).stderr.decode()
    assert "5 skipped" in said and "0 ignored" in said
    rows = [json.loads(line) for line in ecdc("encode", album, "--force", "--json", check=True).stdout.splitlines()]
    assert len(rows) == 5


def test_quiet_says_only_what_failed(ecdc, album, tmp_path, one_line):
    (album / "broken.wav").write_text("no audio at all")
    (album / "notes.txt").write_text("text")
    assert "broken.wav" in one_line(ecdc("encode", album, "--output-dir", tmp_path / "out", "--quiet"))


def test_skip_existing_for_files(ecdc, tone, tmp_path):
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    before = (tmp_path / "a.ecdc").stat().st_mtime_ns
    said = ecdc("encode", tone, "-o", tmp_path / "a.ecdc", "--skip-existing", check=True).stderr
    assert b"1 skipped" in said and (tmp_path / "a.ecdc").stat().st_mtime_ns == before


@pytest.mark.parametrize("args", [["--skip-existing", "--force"], ["-o", "x.ecdc"], ["-"]])
def test_wrong_usage(ecdc, album, args):
    assert ecdc("encode", album, *args).returncode == 2


class Copying:
    """A task without a model: copies, and does odd things as the input says."""

    def prepare(self):
        def work(source, target, progress, note):
            with open(source) as file:
                text = file.read()
            if text == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "fail":
                raise ValueError("cannot be read")
            if text == "defect":
                raise KeyError("what")
            note("a note")
            with open(target, "w") as file:
                file.write(text)
            return {"output": target}

        return work

    def seconds_of(self, source):
        return None


@pytest.mark.parametrize("n_workers", [1, 3])
def test_all_jobs_are_done_whatever_happens_to_some(tmp_path, n_workers):
    texts = ["a", "fail", "b", "defect", "c", *(["die"] if n_workers > 1 else []), "d", "e"]
    pairs = []
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.in").write_text(text)
        pairs.append((str(tmp_path / f"{i}.in"), str(tmp_path / "out" / f"{i}.out")))
    ends = {}
    jobs.run_jobs(pairs, Copying(), n_workers, lambda i, kind, value: ends.update({i: (kind, str(value))}))
    want = {i: "done" if len(text) == 1 else "failed" for i, text in enumerate(texts)}
    assert {i: kind for i, (kind, _) in ends.items()} == want
    for i, text in enumerate(texts):
        if text == "die":
            assert "was killed" in ends[i][1]
        if len(text) == 1:
            assert (tmp_path / "out" / f"{i}.out").read_text() == text


def test_standard_input_shares_a_command_with_parallel_jobs(ecdc_process, tone, tmp_path):
    six = np.zeros((4_800, 6), np.float32)
    soundfile.write(tmp_path / "six.wav", six, 24_000)
    arguments = ["encode", "-", tone, "--jobs", 2, "--model", "nano-24k"]
    done = ecdc_process(*arguments, stdin=(tmp_path / "six.wav").read_bytes(), check=True)
    assert done.stdout.startswith(b"ECDC") and tone.with_suffix(".ecdc").exists()
    note = "ecdc: standard input: 6 channels are downmixed to stereo; for mono, use --channels mono"
    assert note in done.stderr.decode().splitlines()


class Unprepared(Copying):
    def prepare(self):
        raise EcdcError("no such model")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_task_that_cannot_start_is_one_error(tmp_path, n_workers):
    with pytest.raises((EcdcError, jobs.InputError), match="no such model"):
        jobs.run_jobs([("a", "b"), ("c", "d")], Unprepared(), n_workers, lambda *event: None)


def command(*args):
    return [sys.executable, "-m", "ecdc.cli", *map(str, args)]


@pytest.mark.parametrize(
    ("how", "n_jobs"),
    [(signal.SIGKILL, 1), *(pytest.param(how, 2, marks=pytest.mark.slow) for how in (signal.SIGKILL, signal.SIGTERM))],
)
def test_killed_and_started_again_is_as_in_one_go(ecdc, album, tmp_path, how, n_jobs):
    for i in range(3):
        write(album / "long" / f"{i}.wav", i, seconds=6)
    arguments = ["encode", album, "--jobs", n_jobs, "--threads", 1, "--quiet", "--output-dir", tmp_path / "out"]
    with subprocess.Popen(command(*arguments), start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").rglob("*.ecdc")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(how)
        process.wait(60)
        if how == signal.SIGTERM:
            assert not list((tmp_path / "out").rglob("*.partial"))
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:  # its workers end by themselves
                os.killpg(process.pid, 0)
                time.sleep(0.01)
    assert len(list((tmp_path / "out").rglob("*.ecdc"))) < 8
    for folder in ("out", "once"):
        ecdc("encode", album, "--quiet", "--threads", 1, "--output-dir", tmp_path / folder, check=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_leftovers_of_a_process_that_ended_and_was_not_waited_for_are_removed(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, done.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still in the list of processes
    name = partial_path(tmp_path / "a.ecdc").name.replace(f"-{os.getpid():x}-", f"-{done.pid:x}-")
    (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    done.wait()
    assert not list(tmp_path.iterdir())


def test_leftovers_of_the_dead_are_removed_and_no_others(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    ours = partial_path(tmp_path / "a.ecdc")
    theirs = ours.with_name(ours.name.replace(f"-{os.getpid():x}-", f"-{ended.pid:x}-"))
    other_machine = theirs.with_name(theirs.name.replace(".a.ecdc.", ".a.ecdc.0"))
    for path in (ours, theirs, other_machine, tmp_path / ".a.partial", tmp_path / "a.ecdc"):
        path.touch()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {ours, other_machine, tmp_path / ".a.partial", tmp_path / "a.ecdc"}


def test_one_bar_with_a_rate_and_the_time_that_remains(album, tmp_path):
    mine, theirs = pty.openpty()
    with subprocess.Popen(command("encode", album, "--output-dir", tmp_path / "out"), stderr=theirs) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):
            while part := os.read(mine, 4096):
                said += part
    os.close(mine)
    text = said.decode()
    assert process.returncode == 0 and "of 5 files" in text and "B/s" in text and "5 encoded" in text
    assert "5 of 5 files: 100%" in text and "x real time" not in text
