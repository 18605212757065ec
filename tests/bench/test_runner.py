"""Runs: the same for the same seed, resumed where they stopped, and never ended by one clip or codec."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ecdc.bench import corpus, report
from ecdc.bench import runner as running
from ecdc.bench.codecs import Missing, parse
from ecdc.bench.codecs.base import Coded
from ecdc.bench.corpus import Clip

RATE = 24_000
METRICS = ("mel", "stft", "si_sdr", "stoi")


class Broken:
    """A codec that fails on one clip, and is missing on another."""

    name = family = "broken"

    def code(self, audio, sample_rate, folder):
        if len(audio) == RATE:
            raise RuntimeError("no\nway")
        if len(audio) == 2 * RATE:
            raise Missing("tool not found (Debian package tool)")
        return Coded(np.zeros_like(audio), 100)


@pytest.fixture(scope="module")
def clips():
    return list(corpus.synthetic(RATE, 0, seconds=1.0))


def plan(clips, seed=0):
    return running.Plan(clips, parse("anchors", seed), METRICS, seed)


def rows_of(clips, output, seed=0, **options):
    return running.run(plan(clips, seed), output, 1, options.get("force", False), options.get("done", lambda row: None))


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """The rows of a run in one go, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return rows_of(clips, folder), folder


@pytest.fixture
def threads(monkeypatch):
    """Rows measured in this process, which takes no time to start; `whole` was measured in another one."""
    monkeypatch.setattr(running, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))


@pytest.mark.usefixtures("threads")
def test_the_same_seed_gives_the_same_rows_and_files(clips, whole, tmp_path):
    two, (one, folder) = rows_of(clips, tmp_path / "a"), whole
    assert one == two and len(one) == 12
    assert (tmp_path / "a" / "rows.jsonl").read_bytes() == (folder / "rows.jsonl").read_bytes()
    assert running.read_rows(tmp_path / "a" / "rows.jsonl") == one
    for row in one:
        assert {"clip", "codec", "kbps", "seed", "commit", "device", "reference_rate", "bandwidth_hz", *METRICS} <= set(row)
        assert running.audio_file(tmp_path / "a", row["clip"], row["codec"]).exists()
    assert rows_of(clips[:1], tmp_path / "c", seed=5)[0]["mel"] != one[0]["mel"]  # the noise anchor's seed


@pytest.mark.usefixtures("threads")
def test_interrupted_runs_go_on(clips, whole, tmp_path):
    seen = []

    def stop(row):
        seen.append(row)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows_of(clips, tmp_path, done=stop)
    left = running.read_rows(tmp_path / "rows.jsonl")
    assert 5 <= len(left) < 12
    with open(tmp_path / "rows.jsonl", "a") as file:
        file.write('{"clip": "voice", "cod')  # as a power cut leaves it
    measured = []
    again = rows_of(clips, tmp_path, done=measured.append)
    assert len(again) == len(measured) == 12 and again == whole[0]


@pytest.mark.usefixtures("threads")
def test_a_folder_keeps_its_run(clips, tmp_path):
    rows_of(clips[:1], tmp_path)
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(ValueError, match="holds a run of other"):
        rows_of(clips[:2], tmp_path)
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    assert len(rows_of(clips[:2], tmp_path, force=True)) == 8


@pytest.mark.usefixtures("threads")
def test_bad_clips_and_codecs_become_rows_with_reasons(tmp_path):
    silent, tiny = np.zeros(RATE // 2 + 1, np.float32), np.ones(1, np.float32)
    clips = [
        Clip("silent", "audio", silent, RATE),
        Clip("tiny", "audio", tiny, RATE),
        Clip("unreadable", "audio", tiny[:0], RATE, problem="not readable: x"),
    ]
    rows = running.run(running.Plan(clips, parse("anchors"), METRICS, 0), tmp_path, 1, False, lambda row: None)
    assert all(row.get(key) is None for row in rows for key in METRICS)
    assert all(row["problem"] == "not readable: x" for row in rows if row["clip"] == "unreadable")
    assert all("silent" in row["why"]["mel"] for row in rows if row["clip"] == "silent")
    assert all("shorter" in row["why"]["mel"] for row in rows if row["clip"] == "tiny")
    assert "silent, noise, mel distance: the reference is silent" in report.problems(rows)
    failed = running.measure(Clip("a", "audio", np.ones(RATE, np.float32), RATE), Broken(), METRICS, tmp_path / "x.flac")
    assert failed["problem"] == "RuntimeError: no way" and "kbps" not in failed
    missing = running.measure(Clip("a", "audio", np.ones(2 * RATE, np.float32), RATE), Broken(), METRICS, tmp_path / "x.flac")
    assert report.problems([missing, missing]) == ["broken: tool not found (Debian package tool)"]


def test_kbps_are_the_bytes_of_the_file(speech, tmp_path):
    clip = Clip("a", "speech", speech, RATE)
    row = running.measure(clip, Broken(), (), tmp_path / "x.flac") | running.measure(
        clip, parse("nano-24k:6")[0], ("mel",), tmp_path / "y"
    )
    assert 6 < row["kbps"] < 8 and row["kbps"] * 2 * 1000 / 8 == pytest.approx(round(row["kbps"] * 2 * 1000 / 8))


@pytest.mark.parametrize("names", [("a b", "a_b"), ("../x", "x"), ("é/ü", "é_ü"), ("x" * 80, "x" * 81)])
def test_unlike_names_are_unlike_files(names):
    slugs = [running.slug(name) for name in names]
    assert slugs[0] != slugs[1] and all("/" not in slug and not slug.startswith(".") for slug in slugs)


def test_other_weights_are_another_run(codec, clips, tmp_path):
    from ecdc.codec.checkpoints import save

    plans = []
    for scale in (1.0, 2.0):
        with_scale = tmp_path / str(scale)
        codec.decoder.out.bias.data.mul_(scale) if scale != 1 else None
        save(codec, with_scale)
        plans.append(running.Plan(clips, parse(f"{with_scale}:0.9"), METRICS, 0).fingerprint())
    assert list(plans[0]["codecs"].values()) != list(plans[1]["codecs"].values())
    assert json.loads(json.dumps(plans[0])) == plans[0]


@pytest.mark.usefixtures("threads")
def test_what_was_missing_is_measured_when_it_is_there(tmp_path, monkeypatch):
    """The same command continues, after a tool or the package of a metric was installed."""
    clips = [Clip("two", "audio", np.ones(2 * RATE, np.float32) / 2, RATE)]
    missing = running.Plan(clips, [Broken()], ("mel",), 0)
    assert running.run(missing, tmp_path / "a", 1, False, lambda row: None)[0]["missing"]
    monkeypatch.setattr(Broken, "code", lambda self, audio, sample_rate, folder: Coded(audio, 100))
    with monkeypatch.context() as patch:
        patch.setattr(running, "score", lambda *args: (None, "needs a package"))
        assert running.run(missing, tmp_path / "a", 1, False, lambda row: None)[0]["mel"] is None
    row = running.run(missing, tmp_path / "a", 1, False, lambda row: None)[0]
    assert row["mel"] is not None and not row["why"]


def test_a_damaged_description_of_a_run_is_one_line(clips, tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: is not JSON"):
        rows_of(clips, tmp_path)
