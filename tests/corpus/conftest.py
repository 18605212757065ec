"""A folder of short recordings, and a corpus made of it in one go."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ecdc.corpus.reading import Shard
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.corpus.settings import Settings
from ecdc.corpus.store import Store
from ecdc.corpus.verify import describe_corpus

sys.path.insert(0, str(Path(__file__).parents[1] / "codec"))  # for the split codec of the tests there

RATES = (24_000, 16_000, 44_100)


def write_sound(path, seed, seconds=None, rate=None, channels=1):
    """Write noise; its length, rate and format depend on the seed."""
    rate = rate or RATES[seed % 3]
    n = round(rate * (0.2 + 0.15 * seed if seconds is None else seconds))
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal((n, channels))
    soundfile.write(path, (0.1 * noise).astype(np.float32), rate)


def command(recordings, out, settings, *more):
    return [
        sys.executable, "-m", "ecdc.cli", "corpus", "encode", str(recordings), "--output", str(out), "--model", settings.model,
        "--kbps", "1.35", "--shard-items", "4", "--quiet", "--allow-failures", *more,
    ]  # fmt: skip


def tree(folder):
    """All files of a folder, hidden ones too: {name: bytes}."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows(out):
    """The rows of a corpus: (columns, codes)."""
    found, store = describe_corpus(out), Store(out)
    shards = [Shard.open(store, found, shard["files"]) for shard in found["finished"] if shard["files"]]
    return [(shard.columns(i), shard.codes(i)) for shard in shards for i in range(len(shard))]


@pytest.fixture(scope="session")
def settings(light_folder):
    """The small codec, and shards of a few items."""
    return Settings(model=str(light_folder), kbps=1.35, shard_items=4)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Ten recordings, two damaged ones, and a text."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(10):
        name = ("one.wav", "two.flac", "deep/three.wav", "deep/er/four.flac")[i % 4]
        write_sound(folder / f"{i}-{name}", i, channels=1 + (i == 4))
    (folder / "5-damaged.wav").write_bytes((folder / "5-two.flac").read_bytes()[:300])
    whole = (folder / "8-one.wav").read_bytes()
    (folder / "8-short.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture(scope="session")
def corpus(recordings, settings, tmp_path_factory):
    """The recordings' corpus, made in this process in one go."""
    folder = tmp_path_factory.mktemp("corpus") / "out"
    encode_corpus([recordings], folder, settings, Engine(workers=1))
    return folder
