"""The laws of a corpus: the tokens of `ecdc encode`, whatever the workers; every recording is there once, or named."""

import dataclasses
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import ecdc
import numpy as np
import pytest
import split_models
from ecdc.codec.checkpoints import save
from ecdc.codec.encoding import encode_file
from ecdc.codec.runtime import open_codec
from ecdc.corpus.encode import Encoder
from ecdc.corpus.items import Item, key_for, with_unique_keys
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.corpus.settings import Settings
from ecdc.corpus.verify import describe_corpus, verify_corpus

from .conftest import command, tree


def test_shards_hold_what_encode_writes(recordings, corpus, settings):
    codec = open_codec(settings.model)
    found = {}
    for shard in sorted(corpus.glob("shard-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar.getmembers():
                found[member.name] = tar.extractfile(member).read()
    assert len(found) == 20
    for name in [name for name in found if name.endswith(".json")]:
        facts = json.loads(found[name])
        alone = io.BytesIO()
        encode_file(facts["source"], alone, codec, kbps=1.35, channels=1, entropy="none", effort=0)
        assert found[f"{facts['key']}.ecdc"] == alone.getvalue()
        with ecdc.open(io.BytesIO(alone.getvalue())) as file:
            assert (facts["frames"], facts["token_space"]) == (file.frames, codec.token_space.hex())
            assert facts["seconds"] == pytest.approx(file.seconds, abs=1e-3)


@pytest.mark.parametrize("effort", [0, 4])
def test_split_codecs_share_batches_with_the_same_bytes(recordings, tmp_path, monkeypatch, effort):
    save(codec := split_models.build(), tmp_path / "tiny")
    batches = []
    once = Encoder._encode_batch
    monkeypatch.setattr(Encoder, "_encode_batch", lambda self, batch: (batches.append(len(batch)), once(self, batch))[1])
    settings = Settings(model=str(tmp_path / "tiny"), kbps=2, channels="keep", effort=effort)
    encoder = Encoder(open_codec(settings.model), settings)
    broken = ("5-damaged.wav", "8-short.wav", "notes.txt")
    whole = [path for path in sorted(recordings.rglob("*.*")) if path.is_file() and path.name not in broken]
    found = list(encoder([Item(path.stem, str(path)) for path in whole], lambda i: None, lambda i, seconds: None))
    for i, tokens in found:
        encode_file(whole[i], alone := io.BytesIO(), codec, kbps=2, entropy="none", stereo="mid_side", effort=effort)
        with ecdc.open(io.BytesIO(alone.getvalue())) as file:
            assert np.array_equal(file.codes(), tokens.array)
    assert len(found) == 10 and max(batches) > 1


def test_damaged_recordings_are_named_and_cost_nothing_else(corpus):
    lines = [json.loads(line) for line in (corpus / "failures.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["5-damaged", "8-short"]
    assert all(line["reason"] and "Traceback" not in line["reason"] for line in lines)
    assert "damaged at" in lines[1]["reason"]
    found = describe_corpus(corpus)
    assert found["is_complete"] and found["counts"] == {"items": 12, "done": 10, "failed": 2, "shards": 3}
    assert verify_corpus(corpus) == []


def test_damaged_recordings_in_part(recordings, settings, tmp_path):
    import dataclasses

    found = encode_corpus([recordings], tmp_path / "out", dataclasses.replace(settings, partial=True), Engine(workers=1))
    assert (found["counts"]["done"], found["counts"]["failed"]) == (11, 1)
    (row,) = found["damaged"]
    assert row["key"] == "8-short" and row["damage"].startswith("damaged at ")
    named = [json.loads(path.read_text())["damaged"] for path in sorted((tmp_path / "out" / "records").iterdir())]
    assert [damaged for damaged in named if damaged] == [[row]]
    words = command(recordings, tmp_path / "two", settings, "--partial", "--workers", "1")
    done = subprocess.run([word for word in words if word != "--quiet"], capture_output=True, text=True, check=True)
    assert f"ecdc: {tmp_path}/two: 8-short: encoded in part: {row['damage']}" in done.stderr.splitlines()
    info = [sys.executable, "-m", "ecdc.cli", "corpus", "info", str(tmp_path / "two")]
    assert "1 recording damaged and encoded in part" in subprocess.run(info, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("workers", "batch_seconds"), [(1, 0.1), (1, 1.0), (3, 20.0)])
def test_workers_and_batches_change_no_byte(recordings, corpus, settings, tmp_path, workers, batch_seconds):
    encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=workers, batch_seconds=batch_seconds))
    assert tree(tmp_path / "out") == tree(corpus)


def test_long_recordings_are_coded_in_blocks_to_the_same_bytes(recordings, corpus, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("ecdc.corpus.encode.LONG_SECONDS", 0.5)
    encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=1))
    assert tree(tmp_path / "out") == tree(corpus)


def test_two_channels(recordings, settings, tmp_path):
    settings = dataclasses.replace(settings, channels="keep", kbps=1.8)
    encode_corpus([recordings / "4-one.wav", recordings / "0-one.wav"], tmp_path / "out", settings, Engine(workers=1))
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        facts = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    assert [(f["channels"], len(f["n_codebooks"])) for f in facts] == [(2, 2), (1, 1)]


def test_strange_rows_under_a_right_checksum_are_one_line(corpus, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(corpus, out)
    record = json.loads((out / "records" / "000000.json").read_text())
    for data in (b"not json", b"[]", b'{"token_space": 3}'):
        with tarfile.open(out / "shard-000000.tar", "w") as tar, tarfile.open(corpus / "shard-000000.tar") as good:
            for member in good:
                text = good.extractfile(member).read() if member.name.endswith(".ecdc") else data
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
        record["files"][0]["sha256"] = hashlib.sha256((out / "shard-000000.tar").read_bytes()).hexdigest()
        (out / "records" / "000000.json").write_text(json.dumps(record))
        found = verify_corpus(out)
        assert len(found) == 1 and found[0].startswith("shard-000000.tar: ") and "\n" not in found[0]


def test_verify_finds_every_kind_of_damage(corpus, tmp_path):
    def broken(change):
        out = tmp_path / str(random.random())
        shutil.copytree(corpus, out)
        change(out)
        return verify_corpus(out)

    def flip(path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    assert "checksum" in broken(lambda out: flip(out / "shard-000001.tar"))[0]
    assert "cannot be read" in broken(lambda out: (out / "shard-000001.tar").unlink())[0]
    assert "1 of 3 shards" in broken(lambda out: (out / "records" / "000001.json").unlink())[0]
    assert "no record" in broken(lambda out: shutil.copy(out / "shard-000001.tar", out / "shard-000009.tar"))[0]

    def other_space(out):
        plan = json.loads((out / "plan.json").read_text())
        (out / "plan.json").write_text(json.dumps(plan | {"token_space": "00" * 32}))

    assert "holds tokens of" in broken(other_space)[0]

    def fewer(out):
        record = json.loads((out / "records" / "000001.json").read_text())
        (out / "records" / "000001.json").write_text(json.dumps(record | {"done": 9, "frames": [1] * 9}))

    assert "its record says 9" in broken(fewer)[0]


def test_keys_are_unique_and_have_no_dots():
    names = [
        "a/b.c.wav",
        "a/b_c.flac",
        "A/B_C.mp3",
        "..",
        "a/b_c-2.wav",
        b"\xff.wav".decode("utf-8", "surrogateescape"),
        "x/../y.wav",
    ]
    keys = [item.key for item in with_unique_keys(Item(key_for(name), name) for name in names)]
    assert len({key.casefold() for key in keys}) == len(keys)
    assert not any("." in key or key.startswith("/") for key in keys)
    assert keys[:2] == ["a/b_c", "a/b_c-2"]


def test_commands(recordings, settings, tmp_path):
    out = tmp_path / "out"
    words = command(recordings, out, settings, "--json", "--workers", "1")
    plan = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=True)
    assert json.loads(plan.stdout)["items_to_do"] == 12 and not out.exists()
    loud = [word for word in words if word not in ("--quiet", "--allow-failures")]
    done = subprocess.run(loud, capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["counts"]["failed"] == 2
    assert f"see {out}/failures.jsonl" in done.stderr and "Traceback" not in done.stderr
    ecdc_ = [sys.executable, "-m", "ecdc.cli", "corpus"]
    assert "complete" in subprocess.run([*ecdc_, "info", str(out)], capture_output=True, text=True, check=True).stdout
    assert "no damage" in subprocess.run([*ecdc_, "verify", str(out)], capture_output=True, text=True, check=True).stdout
    bad = subprocess.run([*ecdc_, "info", str(recordings)], capture_output=True, text=True)
    assert bad.returncode == 1 and len(bad.stderr.splitlines()) == 1 and Path(recordings).name in bad.stderr


def test_a_script_needs_no_main_guard(recordings, corpus, settings, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nprint('once')\nfrom ecdc.corpus import Engine, Settings, encode_corpus\n"
        f"encode_corpus([{str(recordings)!r}], {str(tmp_path / 'out')!r}, {settings!r}, Engine(workers=2))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "once\n" and not done.stderr and tree(tmp_path / "out") == tree(corpus)


def test_a_run_without_torch_and_extras_imports_neither(recordings, settings, tmp_path):
    script = (
        "import sys; from ecdc.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*(n for n in ('torch', 'pyarrow', 'fsspec', 'ray', 'lhotse') if n in sys.modules))"
    )
    words = command(recordings, tmp_path / "out", settings, "--workers", "1")[3:]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_report_names_the_first_damaged_recordings():
    from ecdc.cli.corpus_progress import MOST_NAMED, Progress

    progress = Progress(SimpleNamespace(todo=[], n_finished=0), quiet=True)
    for n in (0, 1, MOST_NAMED, MOST_NAMED + 1, MOST_NAMED + 5):
        damaged = [{"key": f"k{i}", "damage": "damaged at 1.000 s (x)"} for i in range(n)]
        counts = {"items": 99, "done": 99, "failed": 0}
        summary = progress.summary(1.0) | {
            "counts": counts, "hours": 1.0, "is_complete": True, "damaged": damaged,
            "beyond_full_scale": {"recordings": 0, "loudest": None, "peak_db": 0.0},
        }  # fmt: skip
        lines = [line for line in progress.lines(summary, "out", 0) if "encoded in part" in line]
        named = [f"ecdc: out: k{i}: encoded in part: damaged at 1.000 s (x)" for i in range(min(n, MOST_NAMED))]
        rest = {MOST_NAMED + 1: ["1 further recording"], MOST_NAMED + 5: ["5 further recordings"]}.get(n, [])
        assert lines == named + [f"ecdc: out: {text} encoded in part (see out/manifest.json)" for text in rest]
