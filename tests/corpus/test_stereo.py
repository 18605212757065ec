"""Corpora in stereo: the bytes of `ecdc encode --stereo auto`, for whole recordings and for sections, short and long."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import split_models
from ecdc.codec.checkpoints import save
from ecdc.codec.encoding import encode_file
from ecdc.corpus.dataset import TokenDataset
from ecdc.corpus.errors import CorpusError
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.corpus.settings import Settings
from ecdc.corpus.verify import describe_corpus, verify_corpus

RATE = 24_000
AMPLITUDES = {"wide": (0.1, 0.05), "usual": (0.1, 0.024), "narrow": (0.1, 0.015)}
CODINGS = {"wide": ("left_right", [4, 4]), "usual": ("mid_side", [6, 2]), "narrow": ("mid_side", [7, 1])}


@pytest.fixture(scope="module")
def codec():
    return split_models.build()


@pytest.fixture(scope="module")
def settings(codec, tmp_path_factory):
    save(codec, folder := tmp_path_factory.mktemp("model") / "tiny")
    return Settings(model=str(folder), kbps=2, channels="stereo", stereo="auto")


@pytest.fixture(scope="module")
def parts():
    """Stereo noise [n, 2] of each width."""
    noise = np.random.default_rng(0).standard_normal((2, RATE))
    pairs = {name: np.array([[mid], [side]]) * noise for name, (mid, side) in AMPLITUDES.items()}
    return {name: np.stack([a + b, a - b], 1) for name, (a, b) in pairs.items()}


@pytest.fixture(scope="module")
def recordings(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name, audio in parts.items():
        soundfile.write(folder / f"{name}.wav", audio, RATE)
    return folder


def check(out, recordings, codec):
    """Compare a corpus with files of the recordings, which have the names of its rows."""
    with tarfile.open(out / "shard-000000.tar") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    facts = {name: json.loads(data) for name, data in found.items() if name.endswith(".json")}
    assert len(facts) == len(CODINGS)
    for key, fact in facts.items():
        name = fact.get("name", fact["key"])
        assert (fact["channel_coding"], fact["n_codebooks"]) == CODINGS[name]
        encode_file(recordings / f"{name}.wav", alone := io.BytesIO(), codec, kbps=2, entropy="none", effort=0)
        assert found[key.replace(".json", ".ecdc")] == alone.getvalue()


def test_whole_recordings(recordings, settings, codec, tmp_path):
    encode_corpus([recordings], tmp_path / "out", settings, Engine(workers=1, runtime="torch"))
    check(tmp_path / "out", recordings, codec)
    assert verify_corpus(tmp_path / "out") == []
    books = describe_corpus(tmp_path / "out")["codebooks"]
    assert books == {"2 mid_side": [6, 2], "2 left_right": [4, 4], "2 narrow": [7, 1]}
    assert len(TokenDataset(tmp_path / "out")) == 3


@pytest.mark.parametrize("held", [1 << 26, 300_000, 0])
def test_sections(parts, recordings, settings, codec, tmp_path, monkeypatch, held):
    """Sections of one recording, which are kept in memory, or too long for that and read twice."""
    monkeypatch.setattr("ecdc.corpus.audio.MAX_HELD", held)
    soundfile.write(tmp_path / "all.wav", np.concatenate(list(parts.values())), RATE)
    lines = [{"path": "all.wav", "start": i, "duration": 1, "name": name} for i, name in enumerate(parts)]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    encode_corpus([tmp_path / "list.jsonl"], tmp_path / "out", settings, Engine(workers=1, runtime="torch"))
    check(tmp_path / "out", recordings, codec)


def test_unknown_choices_are_refused():
    with pytest.raises(CorpusError, match="stereo must be one of auto, mid_side, left_right, narrow, got 'joint'"):
        Settings(stereo="joint")
