"""Each format of shards is opened with the library that it is for."""

import dataclasses
import io
import json

import ecdc
import numpy as np
import pytest
from ecdc.corpus.errors import CorpusError, library
from ecdc.corpus.outputs import parquet as parquet_output
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.corpus.verify import verify_corpus

from .conftest import rows, tree, write_sound


def are_equal(given, expected):
    """Whether lists of codes are equal, of whatever types."""
    return [np.array(codes, np.uint16).tolist() for codes in given] == [codes.tolist() for codes in expected]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A manifest with columns of every type, some of which have the names of ours."""
    folder = tmp_path_factory.mktemp("source")
    lines = []
    for i in range(6):
        write_sound(folder / f"clip {i}.wav", i)
        own = {"path": f"clip {i}.wav", "text": f"wörds {i}", "speaker": i, "loud": i / 2 if i else 1, "is_good": i > 2}
        lines.append(own | {"seconds": "mine", "nested": {"a": [i]}, "mixed": "x" if i else 1, "missing": None})
    del lines[2]["text"]
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def expected(source, settings, tmp_path_factory):
    """The codes of the WebDataset shards."""
    out = tmp_path_factory.mktemp("expected") / "out"
    encode_corpus([source], out, settings, Engine(workers=1))
    return out, [codes for _, codes in rows(out)]


def encode(source, settings, out, form):
    encode_corpus([source], out, dataclasses.replace(settings, format=form), Engine(workers=1))
    assert verify_corpus(out) == []
    return out


def test_webdataset(expected):
    webdataset = pytest.importorskip("webdataset")
    out, codes = expected
    urls = [str(path) for path in sorted(out.glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [f"clip {i}" for i in range(6)]
    for i, sample in enumerate(found):
        facts = json.loads(sample["json"])
        with ecdc.open(io.BytesIO(sample["ecdc"])) as file:
            assert np.array_equal(file.codes(), codes[i])
        assert facts["speaker"] == i and facts["source_seconds"] == "mine" and facts["frames"] == codes[i].shape[1]


def test_parquet(source, settings, expected, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = encode(source, settings, tmp_path / "out", "parquet")
    table = parquet.read_table(sorted(out.glob("*.parquet")))
    assert str(table.schema.field("codes").type) == "list<item: list<item: uint16>>" or "uint16" in str(table.schema)
    assert are_equal(table["codes"].to_pylist(), expected[1])
    assert table["text"].to_pylist() == ["wörds 0", "wörds 1", None, "wörds 3", "wörds 4", "wörds 5"]
    assert table["loud"].to_pylist()[:3] == [1.0, 0.5, 1.0] and table["is_good"].to_pylist()[2:4] == [False, True]
    assert json.loads(table["nested"][1].as_py()) == {"a": [1]} and table["mixed"][1].as_py() == '"x"'
    assert table["frame_rate"][0].as_py() == 75.0 and len(table["token_space"][0].as_py()) == 64


def test_hugging_face(source, settings, expected, tmp_path):
    datasets = pytest.importorskip("datasets")
    out = encode(source, settings, tmp_path / "out", "hf")
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]
    assert found["text"][3] == "wörds 3" and len(found) == 6
    assert are_equal(found["codes"], expected[1])


@pytest.mark.filterwarnings("ignore")
def test_lhotse_shar(source, settings, expected, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    out = encode(source, settings, tmp_path / "out", "lhotse-shar")
    cuts = list(lhotse.CutSet.from_shar(in_dir=out / "shar"))
    assert [cut.id for cut in cuts] == [f"clip {i}" for i in range(6)]
    for cut, wanted in zip(cuts, expected[1], strict=True):
        assert np.array_equal(cut.codes.load().T, wanted)
        loaded = cut.load_codes().T  # Lhotse rounds the duration to whole frames
        assert loaded.shape[1] >= wanted.shape[1] - 1 and np.array_equal(loaded, wanted[:, : loaded.shape[1]])
        assert cut.load_audio().shape[1] == cut.num_samples and cut.codes.frame_shift == 1 / 75
    assert cuts[3].supervisions[0].text == "wörds 3" and cuts[3].speaker == 3 and len(cuts[3].token_space) == 64
    part = cuts[5].truncate(offset=0.4, duration=0.2).load_codes()
    assert np.array_equal(part.T, expected[1][5][:, 30:45])


def test_a_parquet_shard_of_too_many_codes_is_an_error(source, settings, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_output, "MAX_CODES", 10)
    with pytest.raises(CorpusError, match=r"at most 10 codes, not .*; give a smaller --shard-mb"):
        encode(source, settings, tmp_path / "out", "parquet")


@pytest.mark.parametrize("form", ["parquet", "hf", "lhotse-shar"])
def test_the_same_codes_and_bytes_in_every_format(source, settings, expected, tmp_path, form):
    out = encode(source, settings, tmp_path / "out", form)
    assert are_equal([codes for _, codes in rows(out)], expected[1])
    encode_corpus([source], tmp_path / "two", dataclasses.replace(settings, format=form), Engine(workers=2, batch_seconds=0.5))
    assert tree(tmp_path / "two") == tree(out)


def test_a_missing_library_is_one_line():
    with pytest.raises(ecdc.EcdcError, match=r"parquet needs no_such, which is not installed: pip install -e '\.\[corpus\]'"):
        library("no_such.part", "corpus", "parquet")
