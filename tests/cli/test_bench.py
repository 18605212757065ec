"""`ecdc bench`: a run from the command line, its files, and one line for what does not fit."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from ecdc.bench import runner

QUICK = ["--synthetic", "--codec", "nano-24k:3", "--codec", "anchors", "--metric", "mel", "--metric", "si_sdr", "--jobs", "1"]


@pytest.fixture(scope="module")
def made(ecdc, tmp_path_factory):
    output = tmp_path_factory.mktemp("bench") / "out"
    with pytest.MonkeyPatch.context() as patch:  # other processes have tests of their own, and take seconds to start
        patch.setattr(runner, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
        return ecdc("bench", *QUICK, "--output", output, check=True), output


def test_a_run_leaves_rows_a_report_plots_and_a_page(made):
    done, output = made
    rows = [json.loads(line) for line in (output / "rows.jsonl").read_text().splitlines()]
    assert [row["codec"] for row in rows[:5]] == ["nano-24k 3", "noise", "low-pass 3.5 kHz", "low-pass 7 kHz", "PCM"]
    assert len(rows) == 15 and all(row["mel"] is not None for row in rows)
    assert (output / "report.md").read_text().strip() == done.stdout.decode().strip()
    assert "| nano-24k 3 | 3." in done.stdout.decode() and "codes kept" in done.stdout.decode()
    assert (output / "plots" / "mel.png").exists() and (output / "index.html").stat().st_size > 100_000


def test_the_same_command_again_measures_nothing_new(ecdc, made):
    _, output = made
    before = (output / "rows.jsonl").stat().st_ino, (output / "rows.jsonl").read_bytes()
    ecdc("bench", *QUICK, "--output", output, "--no-page", check=True)
    assert (output / "rows.jsonl").read_bytes() == before[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--codec", "nothing-24k"], "nothing-24k"),
        (["--codec", "opus:x"], "opus:x"),
        (["--metric", "loudness"], "loudness: no such metric (known: visqol"),
        (["--codec", "opus:6", "--codec", "opus:6,12"], "Opus 6: asked for twice"),
        (["--corpus", "."], "no audio in this folder"),
        (["--packed", "."], "no packed audio"),
    ],
)
def test_what_does_not_fit_is_one_line(ecdc, tmp_path, one_line, args, message):
    (tmp_path / "empty").mkdir()
    args = [str(tmp_path / "empty") if arg == "." else arg for arg in args]
    synthetic = [] if args[0] in ("--corpus", "--packed") else ["--synthetic"]
    assert message in one_line(ecdc("bench", *synthetic, *args, "--output", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_clip_that_fails_is_named_and_the_others_are_kept(ecdc, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "good.wav", 0.1 * np.random.default_rng(0).standard_normal(24_000), 24_000)
    (tmp_path / "clips" / "broken.ogg").write_text("nothing")
    output = tmp_path / "out"
    options = ("--corpus", tmp_path / "clips", "--codec", "pcm", "--metric", "mel", "--jobs", 1, "--output", output)
    for _ in range(2):  # also if the rows are there already
        done = ecdc("bench", *options)
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 1 and lines[0].startswith("broken, PCM: not readable")
        assert lines[-1] == f"ecdc: {output}: 1 of 2 rows could not be measured, for the reasons above"
        rows = [json.loads(line) for line in (output / "rows.jsonl").read_text().splitlines()]
        assert [row["clip"] for row in rows if row.get("mel") is not None] == ["good"]
        assert "| PCM | " in done.stdout.decode() and (output / "index.html").exists()
    (tmp_path / "clips" / "broken.ogg").unlink()
    ecdc("bench", *options, "--force", check=True)


def test_wrong_usage(ecdc, tmp_path):
    for args in ([], ["--output", tmp_path, "--synthetic", "--packed", tmp_path], ["listen"], ["--rate", "1"]):
        done = ecdc("bench", *args)
        assert done.returncode == 2 and b"Traceback" not in done.stderr


def test_help_imports_no_torch(imports):
    assert imports("torch matplotlib", ("bench", "--help")) == []
