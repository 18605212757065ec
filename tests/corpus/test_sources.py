"""Every kind of source gives the tokens that its recordings have as files, and carries its columns along."""

import csv
import dataclasses
import functools
import gzip
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ecdc.corpus.errors import CorpusError
from ecdc.corpus.run import Engine, encode_corpus, plan_corpus, run_job
from ecdc.corpus.sources import find_items

from .conftest import rows, write_sound

ONE = Engine(workers=1)


def failures(out):
    return [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three recordings, and their codes from a corpus of the folder."""
    folder = tmp_path_factory.mktemp("clips")
    for i in range(3):
        write_sound(folder / f"clip{i}.wav", i)
    return folder


@pytest.fixture(scope="module")
def expected(clips, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "out"
    encode_corpus([clips], out, settings, ONE)
    return [codes for _, codes in rows(out)]


def check(source, settings, out, expected, **more):
    """Encode a source; returns the columns of its rows, whose codes must be those expected."""
    encode_corpus([source], out, settings, ONE, **more)
    found = rows(out)
    assert len(found) == len(expected)
    for (_, codes), wanted in zip(found, expected, strict=True):
        assert np.array_equal(codes, wanted)
    return [columns for columns, _ in found]


def lines(clips):
    return [{"path": f"clip{i}.wav", "duration": 0.2 + i, "text": f"words {i}", "speaker": i} for i in range(3)]


def test_jsonl(clips, expected, settings, tmp_path):
    path = clips / "list.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines(clips)) + "\n")
    found = check(path, settings, tmp_path / "out", expected)
    assert [(row["text"], row["speaker"], row["key"]) for row in found] == [(f"words {i}", i, f"clip{i}") for i in range(3)]
    packed = clips / "list.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    check(packed, settings, tmp_path / "gz", expected)


def test_csv(clips, expected, settings, tmp_path):
    path = clips / "list.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "duration", "text", "speaker"])
        writer.writeheader()
        writer.writerows(lines(clips))
    assert [row["text"] for row in check(path, settings, tmp_path / "out", expected)] == ["words 0", "words 1", "words 2"]


def test_sections(clips, settings, tmp_path):
    """Sections have the codes of files that hold them, in any order, whatever else of the recording was read before."""
    audio, rate = soundfile.read(clips / "clip2.wav", dtype="float32")
    spans = [(0.05, 0.2), (0.1, 0.1), (0.3, 0.15), (0, 0.1)]
    parts = tmp_path / "parts"
    parts.mkdir()
    for i, (start, seconds) in enumerate(spans):
        part = audio[round(start * rate) : round(start * rate) + round(seconds * rate)]
        soundfile.write(parts / f"{i}.wav", part, rate, subtype="FLOAT")
    encode_corpus([parts], tmp_path / "whole", settings, ONE)
    path = clips / "sections.jsonl"
    given = [{"audio_filepath": "clip2.wav", "offset": start, "duration": seconds} for start, seconds in spans]
    given.append({"audio_filepath": "clip2.wav", "offset": 0.4, "duration": 9})
    path.write_text("".join(json.dumps(line) + "\n" for line in given))
    found = check(path, settings, tmp_path / "out", [codes for _, codes in rows(tmp_path / "whole")])
    assert [row["start"] for row in found] == [start for start, _ in spans]
    assert "ends at 0.500 s" in failures(tmp_path / "out")[0]["reason"]


def test_damage_is_told_of_the_sections_that_it_shortens(clips, settings, tmp_path):
    whole = (clips / "clip2.wav").read_bytes()
    (tmp_path / "short.wav").write_bytes(whole[: len(whole) // 2])  # 0.25 s of 0.5
    given = [{"path": "short.wav", "offset": 0, "duration": 0.1}, {"path": "short.wav", "offset": 0.1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    found = encode_corpus([tmp_path / "a.jsonl"], tmp_path / "out", dataclasses.replace(settings, partial=True), ONE)
    assert found["counts"]["done"] == 2
    assert [row["key"] for row in found["damaged"]] == ["short-00000100"]
    assert found["damaged"][0]["damage"].startswith("damaged at 0.2")


def test_tars(clips, expected, settings, tmp_path):
    for n in range(2):
        with tarfile.open(tmp_path / f"data-{n}.tar", "w") as tar:
            for i in ([0, 1], [2])[n]:
                tar.add(clips / f"clip{i}.wav", f"./x/clip{i}.wav")
                for suffix, data in (("txt", f"words {i}\n"), ("json", json.dumps({"speaker": i})), ("png", "picture")):
                    member = tarfile.TarInfo(f"./x/clip{i}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data.encode()))
    found = check(tmp_path / "data-{0..1}.tar", settings, tmp_path / "out", expected)
    assert [(row["text"], row["speaker"]) for row in found] == [(f"words {i}", i) for i in range(3)]
    check(tmp_path / "data-*.tar", settings, tmp_path / "out2", expected)


def test_a_tar_that_is_cut_off_costs_its_rest(clips, expected, settings, tmp_path):
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        for i in range(3):
            tar.add(clips / f"clip{i}.wav", f"clip{i}.wav")
    data = (tmp_path / "data.tar").read_bytes()
    with tarfile.open(tmp_path / "data.tar") as tar:
        last = tar.getmembers()[2]
    (tmp_path / "data.tar").write_bytes(data[: last.offset_data + 100])
    encode_corpus([tmp_path / "data.tar"], tmp_path / "out", settings, ONE)
    found = rows(tmp_path / "out")
    assert len(found) == 2 and all(np.array_equal(found[i][1], expected[i]) for i in range(2))
    assert failures(tmp_path / "out")


def test_no_damage_of_a_tar_loses_a_recording_in_silence(clips, settings, tmp_path):
    """Python's tarfile stops in silence at a damaged header, a cut between two members, and the first end of joined tars."""
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(3):
            tar.add(clips / f"clip{i}.wav", f"clip{i}.wav")
    with tarfile.open(path) as tar:
        _, second, third = tar.getmembers()
    whole = path.read_bytes()
    flipped, zeroed = bytearray(whole), bytearray(whole)
    flipped[second.offset + 2] ^= 1
    zeroed[second.offset : second.offset + 512] = bytes(512)
    for name, data, n_kept, text in (
        ("flipped", flipped, 1, f"the header at byte {second.offset} is damaged"),
        ("zeroed", zeroed, 1, "more data follows its end"),
        ("cut", whole[: third.offset], 2, "has no end mark"),
        ("joined", whole + whole, 3, "more data follows its end, as in joined tars"),
    ):
        path.write_bytes(data)
        out = tmp_path / name
        encode_corpus([path], out, settings, ONE)
        assert len(rows(out)) == n_kept and len(failures(out)) == 1 and text in failures(out)[0]["reason"]


def test_no_recording_of_a_folder_is_left_out_in_silence(clips, expected, settings, tmp_path, monkeypatch):
    """Links to nothing, pipes, files that vanish, and folders that cannot be opened are failures."""
    source = tmp_path / "in"
    shutil.copytree(clips, source, ignore=shutil.ignore_patterns("*.json*", "*.csv*"))
    (source / "closed").mkdir()
    (source / "gone.wav").symlink_to("nowhere")
    (source / "link").symlink_to(".")
    (source / "vanishing.wav").write_bytes((source / "clip0.wav").read_bytes())
    os.mkfifo(source / "pipe.wav")
    opened = os.scandir

    def scandir(path):
        if path == str(source / "closed"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path)

    monkeypatch.setattr(os, "scandir", scandir)
    job = plan_corpus([source], tmp_path / "out", settings, ONE)
    (source / "vanishing.wav").unlink()
    run_job(job, ONE)
    found = {row["key"]: row["reason"] for row in failures(tmp_path / "out")}
    assert found.keys() == {"closed", "gone", "pipe", "vanishing"}
    assert found["closed"] == "cannot be read (Permission denied)" and "no such file" in found["gone"]
    assert len(rows(tmp_path / "out")) == len(expected)
    assert job.plan.left_out == [(str(source / "link"), "is a link to a folder, which is not followed")]
    monkeypatch.setattr(os, "scandir", lambda path: scandir(str(source / "closed")))
    with pytest.raises(CorpusError, match=f"{source / 'closed'}: cannot be read"):
        find_items([str(source / "closed")], "folder")


@pytest.mark.parametrize("kind", ["struct", "bytes", "path"])
def test_parquet(clips, expected, settings, tmp_path, kind):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = [clips / f"clip{i}.wav" for i in range(3)]
    audio = {
        "struct": [
            {"bytes": f.read_bytes(), "path": None} if i else {"bytes": None, "path": str(f)} for i, f in enumerate(files)
        ],
        "bytes": [f.read_bytes() for f in files],
        "path": [str(f) for f in files],
    }[kind]
    table = pa.table({"text": ["a", None, "c"], "audio" if kind != "bytes" else "sound": audio, "list": [[1], [2], []]})
    parquet.write_table(table, tmp_path / "data.parquet", row_group_size=2)
    found = check(tmp_path / "data.parquet", settings, tmp_path / "out", expected)
    assert [row["text"] for row in found] == ["a", None, "c"] and found[0]["list"] == [1]


def test_datasets_of_hugging_face(clips, expected, settings, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = [str(clips / f"clip{i}.wav") for i in range(3)]
    made = datasets.Dataset.from_dict({"audio": files, "text": ["a", "b", "c"]}).cast_column(
        "audio", datasets.Audio(decode=False)
    )
    embedded = made.map(lambda row: {"audio": {"bytes": Path(row["audio"]["path"]).read_bytes(), "path": None}})
    embedded.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": embedded}).save_to_disk(tmp_path / "splits")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    embedded.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    for name in ("saved", "splits", "hub"):
        assert [row["text"] for row in check(tmp_path / name, settings, tmp_path / f"out-{name}", expected)] == ["a", "b", "c"]


@pytest.mark.filterwarnings("ignore")
def test_cuts_of_lhotse(clips, expected, settings, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    recordings = [lhotse.Recording.from_file(clips / f"clip{i}.wav") for i in range(3)]
    cuts = [recording.to_cut() for recording in recordings]
    for i, cut in enumerate(cuts):
        cut.supervisions = [lhotse.SupervisionSegment(f"s{i}", cut.recording_id, 0, cut.duration, text=f"words {i}")]
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    found = check(tmp_path / "cuts.jsonl.gz", settings, tmp_path / "out", expected)
    assert [row["text"] for row in found] == ["words 0", "words 1", "words 2"]
    (tmp_path / "shar").mkdir()
    lhotse.CutSet.from_cuts(cuts).to_shar(tmp_path / "shar", fields={"recording": "wav"}, shard_size=2)
    assert [row["text"] for row in check(tmp_path / "shar", settings, tmp_path / "out2", expected)][1:] == [
        "words 1",
        "words 2",
    ]
    fields = {name: [str(tmp_path / where / f"{name}.00000{i}.{end}") for i in range(2)] for name, where, end in (
        ("cuts", "out4/shar", "jsonl.gz"), ("codes", "out4/shar", "tar"), ("recording", "shar", "tar"))}  # fmt: skip
    encode_corpus([tmp_path / "shar"], tmp_path / "out4", dataclasses.replace(settings, format="lhotse-shar"), ONE)
    for cut, codes in zip(lhotse.CutSet.from_shar(fields=fields), expected, strict=True):  # codes beside the source's audio
        assert np.array_equal(cut.codes.load().T, codes) and cut.load_audio().shape[1] == cut.num_samples
    odd = [cuts[2].truncate(offset=0.1, duration=0.2), cuts[0].append(cuts[0]), cuts[0].perturb_speed(1.1)]
    lhotse.CutSet.from_cuts(odd).to_file(tmp_path / "odd.jsonl")
    encode_corpus([tmp_path / "odd.jsonl"], tmp_path / "out3", settings, ONE)
    assert len(rows(tmp_path / "out3")) == 1
    mixed, changed = (line["reason"] for line in failures(tmp_path / "out3"))
    assert "MixedCut" in mixed and "transforms" in changed


def test_urls(clips, expected, settings, tmp_path):
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(clips))
    handler.func.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        path = tmp_path / "list.jsonl"
        names = ["clip0", "clip1", "clip2", "no"]
        path.write_text("".join(json.dumps({"path": f"{url}/{name}.wav"}) + "\n" for name in names))
        check(path, settings, tmp_path / "out", expected)
        server.shutdown()
    assert failures(tmp_path / "out")[0]["reason"] == "no such file"


def test_stores_behind_urls(clips, expected, settings, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for i in range(3):
        memory.pipe_file(f"/in/deep/clip{i}.wav", (clips / f"clip{i}.wav").read_bytes())
    memory.pipe_file("/in/readme.txt", b"text")
    assert len(check("memory://in", settings, "memory://out", expected)) == 3
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for i in range(3):
                tar.add(clips / f"clip{i}.wav", f"clip{i}.wav")
        memory.pipe_file("/tars/data-0.tar", stream.getvalue())
    check("memory://tars/data-*.tar", settings, tmp_path / "tars", expected)
    memory.pipe_file("/list/list.csv", b"path\nmemory://in/deep/clip0.wav\n")
    check("memory://list/list.csv", settings, tmp_path / "list", expected[:1])
    here = check(f"file://{clips}", settings, f"file://{tmp_path}/out", expected)
    assert sorted(os.listdir(tmp_path / "out")) == [
        "failures.jsonl",
        "manifest.json",
        "plan.json",
        "records",
        "shard-000000.tar",
    ]
    assert [row["key"] for row in here] == ["clip0", "clip1", "clip2"]


def test_bad_sources_are_one_line(clips, settings, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = {
        "no.jsonl": '{"text": "a"}\n', "list.jsonl": "[1]\n", "bad.jsonl": '{"path": "a.wav"}\n{"path"\n',
        "empty.jsonl": "", "gone.jsonl": '{"path": "a.wav"}\n{"path": "b.wav"}\n', "number.jsonl": '{"path": 3}\n',
        "time.jsonl": '{"path": "a.wav", "start": "soon"}\n',
        "short.csv": "path,text\na.wav\n", "binary.csv": "path\n\xff\xfe\n",
        "bad.parquet": "no table", "bad.tar": "no tar", "packed.tar.gz": "no tar", "cuts.jsonl": '{"type": "MonoCut"}\n',
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    wanted = {
        "no.jsonl": "line 1: has no column 'path'", "list.jsonl": "must be a JSON object", "bad.jsonl": "line 2: is not JSON",
        "empty.jsonl": "holds no audio", "gone.jsonl": "none of its files exists", "number.jsonl": "path must be a path",
        "time.jsonl": "start must be seconds", "short.csv": "more or fewer columns", "binary.csv": "is not a manifest",
        "bad.parquet": "is not a table", "cuts.jsonl": "is not a cut", "text.parquet": "has no column of audio",
        "packed.tar.gz": "is compressed", "nothing-{0..3}.tar": "no such file", "unknown://bucket/x": "cannot be opened",
    }  # fmt: skip
    for name, text in wanted.items():
        with pytest.raises(CorpusError, match=text) as caught:
            plan_corpus([name if "://" in name else tmp_path / name], tmp_path / "out", settings)
        assert "\n" not in str(caught.value)
    encode_corpus([tmp_path / "bad.tar"], tmp_path / "out", settings, ONE)
    assert "the tar is damaged" in failures(tmp_path / "out")[0]["reason"]


@pytest.mark.parametrize("name", ["dataset_dict.json", "state.json"])
@pytest.mark.parametrize(
    "text", ["[]", "{", '{"splits": 3, "_data_files": 3}', '{"splits": [3], "_data_files": [{}]}', "[" * 100_000]
)
def test_damaged_folders_of_datasets_are_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(CorpusError, match=rf"{name}: is not as `datasets` writes it") as caught:
        find_items([str(tmp_path)])
    assert "\n" not in str(caught.value)


def test_a_source_is_read_in_one_order(clips):
    names = [item.key for item in find_items([str(clips / f"clip{i}.wav") for i in (2, 0, 1, 0)])]
    assert names == ["clip2", "clip0", "clip1", "clip0-2"]


STRANGE = ["\ud800.wav", "a\0b.wav", "-", ".", "/dev/zero", "clip0.wav\n", "clip0.wav/x", "pipe", "\udcff.wav"]


def test_names_that_no_file_has_cost_one_line_each(clips, settings, tmp_path):
    """A pipe or a device would never end, and '-' would be read from the terminal."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "clip0.wav").write_bytes((clips / "clip0.wav").read_bytes())
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps({"path": name}) + "\n" for name in ["clip0.wav", *STRANGE]))
    out = tmp_path / "out"
    encode_corpus([manifest], out, settings, ONE)
    assert len(rows(out)) == 1 and len(failures(out)) == len(STRANGE)
    assert all("fault in ecdc" not in row["reason"] and row["reason"].strip() for row in failures(out))


JSON = ["[" * 100_000, '{"path": "clip0.wav", "n": ' + "1" * 5000 + "}", "{", "[]", '"x"', "nul"]


@pytest.mark.parametrize("text", JSON)
def test_json_that_python_does_not_take_is_one_line(clips, tmp_path, text):
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": str(clips / "clip0.wav")}) + "\n" + text + "\n")
    (tmp_path / "first.jsonl").write_text(text + "\n")
    for name in ("list", "first"):
        with pytest.raises(CorpusError, match=rf"{name}.jsonl, line .*(JSON|object)") as caught:
            find_items([str(tmp_path / f"{name}.jsonl")])
        assert "\n" not in str(caught.value)


def test_a_damaged_gz_is_one_line(clips, tmp_path):
    lines = "".join(json.dumps({"path": str(clips / f"clip{i % 3}.wav"), "n": i}) + "\n" for i in range(500))
    whole = gzip.compress(lines.encode())
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        data[rng.integers(10, len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "list.jsonl.gz").write_bytes(data)
        try:
            find_items([str(tmp_path / "list.jsonl.gz")])
        except CorpusError as error:
            assert "\n" not in str(error)


def test_cuts_of_other_kinds_of_values_are_one_line(clips, tmp_path):
    whole = {
        "id": "a", "type": "MonoCut", "start": 0.1, "duration": 0.5, "channel": 0,
        "supervisions": [{"text": "x"}], "recording": {
            "id": "r", "duration": 0.7, "sources": [{"type": "file", "channels": [0], "source": str(clips / "clip0.wav")}],
        },
    }  # fmt: skip
    values = [None, 5, -1, "x", [], {}, [5], [None], {"x": 1}, float("nan"), True, [[]]]
    for place in ([], ["recording"], ["recording", "sources", 0]):
        for name in list(functools.reduce(lambda found, key: found[key], place, whole)):
            for value in values:
                cut = json.loads(json.dumps(whole))
                functools.reduce(lambda found, key: found[key], place, cut)[name] = value
                (tmp_path / "cuts.jsonl").write_text(json.dumps(cut) + "\n")
                try:
                    find_items([str(tmp_path / "cuts.jsonl")], "lhotse")
                except CorpusError as error:
                    assert "\n" not in str(error)
