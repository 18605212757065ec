"""Reading for training: every sample once, whatever the readers; the codes of the files; continued without a gap."""

import json
import math
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from itertools import islice

import ecdc
import ecdc.corpus
import numpy as np
import pytest
import torch
from ecdc.corpus import Collate, Settings, TokenDataset, TokenStream
from ecdc.corpus.errors import CorpusError
from ecdc.corpus.run import Engine, encode_corpus
from ecdc.plugins.musicgen.patterns import DelayPattern
from torch.utils.data import DataLoader

from .conftest import rows


def first(samples):
    """The batch of one sample."""
    return samples[0]


def names(samples):
    """What tells samples apart."""
    return Counter((sample["key"], sample["start"]) for sample in samples)


@pytest.fixture(scope="module")
def whole(corpus):
    """{key: codes} of the corpus."""
    return {columns["key"]: codes for columns, codes in rows(corpus)}


@pytest.fixture(scope="module")
def many(recordings, settings, tmp_path_factory):
    """The same recordings, one in each shard."""
    import dataclasses

    out = tmp_path_factory.mktemp("many") / "out"
    encode_corpus([recordings], out, dataclasses.replace(settings, shard_items=1), Engine(workers=1))
    return out


def test_whole_recordings(corpus, whole):
    dataset = TokenDataset(corpus)
    assert len(dataset) == len(whole) == 10
    for i in range(10):
        sample = dataset[i]
        assert np.array_equal(sample["codes"], whole[sample["key"]]) and sample["mask"].all()
    assert dataset[-1]["key"] == dataset[9]["key"]
    with pytest.raises(IndexError):
        dataset[10]


def test_all_windows_cover_every_frame_once(corpus, whole):
    dataset = TokenDataset(corpus, frames=20, windows="all")
    seen = {key: np.zeros(codes.shape[1], int) for key, codes in whole.items()}
    for sample in (dataset[i] for i in range(len(dataset))):
        n = int(sample["mask"].sum())
        assert sample["codes"].shape[1] == 20 and not sample["codes"][:, n:].any()
        begin = sample["start"]
        assert np.array_equal(sample["codes"][:, :n], whole[sample["key"]][:, begin : begin + n])
        seen[sample["key"]][begin : begin + n] += 1
    assert all((counts == 1).all() for counts in seen.values())


def test_random_windows_are_aligned_and_change_with_the_epoch(corpus, whole):
    dataset = TokenDataset(corpus, frames=8, align=4, seed=3, n_codebooks=2)
    starts = []
    for epoch in range(4):
        dataset.set_epoch(epoch)
        for sample in (dataset[i] for i in range(10)):
            wanted = whole[sample["key"]][:2, sample["start"] : sample["start"] + 8]
            assert sample["start"] % 4 == 0 and np.array_equal(sample["codes"][:, : wanted.shape[1]], wanted)
        starts.append([dataset[i]["start"] for i in range(10)])
    assert len(set(map(tuple, starts))) > 1
    dataset.set_epoch(0)
    assert [dataset[i]["start"] for i in range(10)] == starts[0]


@pytest.mark.parametrize("n_workers", [0, 1, 3])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("shards", ["few", "many"])
def test_readers_share_the_samples_without_duplicates_or_gaps(corpus, many, n_workers, world, shards):
    dataset = TokenDataset(corpus if shards == "few" else many, frames=10, windows="all")
    wanted = names(dataset[i] for i in range(len(dataset)))
    found: Counter = Counter()
    for rank in range(world):
        stream = TokenStream(dataset, shuffle=5, rank=rank, world=world)
        found += names(DataLoader(stream, batch_size=1, num_workers=n_workers, collate_fn=first))
    assert found == wanted


def test_epochs_have_orders_of_their_own_and_repeat_with_the_seed(corpus):
    stream = TokenStream(TokenDataset(corpus), shuffle=100, seed=1)
    one, two = ([sample["key"] for sample in stream] for _ in range(2))
    assert one != two and sorted(one) == sorted(two)
    again = TokenStream(TokenDataset(corpus), shuffle=100, seed=1)
    assert [sample["key"] for sample in again] == one
    plain = [sample["key"] for sample in TokenStream(TokenDataset(corpus), shuffle=0)]
    assert plain == [TokenDataset(corpus)[i]["key"] for i in range(10)]


@pytest.mark.parametrize("given", [0, 1, 7, 10, 13])
def test_a_stream_continues_where_it_stopped(corpus, given):
    def read(stream, n):
        found = []
        while len(found) < n:
            found += islice(iter(stream), n - len(found))
        return [(sample["key"], sample["start"]) for sample in found]

    whole = read(TokenStream(TokenDataset(corpus, frames=5), shuffle=4), 25)
    stream = TokenStream(TokenDataset(corpus, frames=5), shuffle=4)
    assert read(stream, given) == whole[:given]
    state = json.loads(json.dumps(stream.state_dict()))
    other = TokenStream(TokenDataset(corpus, frames=5), shuffle=4)
    other.load_state_dict(state)
    assert read(other, 25 - given) == whole[given:]


def test_batches_and_columns(recordings, settings, tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps({"path": f"{recordings}/{i}-one.wav", "text": f"words {i}"}) + "\n" for i in (0, 8)))
    encode_corpus([path], tmp_path / "out", settings, Engine(workers=1))
    samples = [TokenDataset(tmp_path / "out")[i] for i in range(2)]
    batch = Collate(pad=64)(samples)
    short, long = (sample["codes"].shape[1] for sample in samples)
    assert batch["text"] == ["words 0", "words 8"] and batch["codes"].shape == (2, 3, long)
    assert (batch["codes"][0, :, short:] == 64).all() and not batch["mask"][0, short:].any() and batch["mask"][0, :short].all()
    assert isinstance(Collate(tensors=False)(samples)["codes"], np.ndarray)
    delayed = Collate(pad=64, delays=(0, 1, 2))(samples)
    pattern = DelayPattern((0, 1, 2), 64)
    assert torch.equal(pattern.gather(delayed["codes"], 0, long), batch["codes"])
    assert int(delayed["mask"].sum()) == 3 * (short + long) and (delayed["codes"][~delayed["mask"]] == 64).all()
    with pytest.raises(CorpusError, match="2 delays for 3 codebooks"):
        Collate(delays=(0, 1))(samples)
    with pytest.raises(CorpusError, match="differ in codebooks"):
        Collate()([samples[0], samples[1] | {"codes": samples[1]["codes"][:2]}])


NO_COUNTS = [10**30, -1, math.nan, math.inf, "x", 1.5, [3]]


@pytest.mark.parametrize("value", NO_COUNTS)
def test_numbers_that_are_no_counts_are_one_line(corpus, value):
    dataset, calls = TokenDataset(corpus, frames=5), []
    for name in ("frames", "align", "seed", "n_codebooks"):
        if (name, value) != ("seed", 10**30):
            calls.append(lambda name=name: TokenDataset(corpus, **({"frames": 5} | {name: value})))
    for name in ("shuffle", "rank", "world"):
        calls.append(lambda name=name: TokenStream(dataset, **{name: value}))
    calls += [lambda: Collate(delays=(0, value)), lambda: TokenStream(dataset).load_state_dict(value)]
    if value != -1:
        calls += [lambda: Collate(pad=value), lambda: TokenDataset(corpus, open_shards=value if value != 10**30 else None)]
        calls += [lambda: Settings(shard_items=value if value != 10**30 else "x")]
    if value != 10**30:
        state = {"epoch": value, "position": 0}
        calls += [lambda: dataset.set_epoch(value), lambda: TokenStream(dataset).load_state_dict(state)]
    calls += [lambda: Engine(workers=value), lambda: Engine(threads=value), lambda: Engine(part=value)]
    for call in calls:
        with pytest.raises(ecdc.EcdcError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_window_has_a_bounded_length_and_a_batch_has_samples(corpus):
    with pytest.raises(ecdc.EcdcError, match="frames must be at most 16777216, got 1000000000"):
        TokenDataset(corpus, frames=10**9)
    with pytest.raises(CorpusError, match="one sample or more"):
        Collate()([])
    for value in (0, -1.0, math.nan, math.inf, "x"):
        with pytest.raises(ecdc.EcdcError, match="batch_seconds must be"):
            Engine(batch_seconds=value)


def test_several_corpora_are_read_as_one(corpus, many, tmp_path):
    both = TokenDataset([corpus, many], frames=10, windows="all")
    one, two = (
        names(TokenDataset(each, 10, "all")[i] for i in range(len(TokenDataset(each, 10, "all")))) for each in (corpus, many)
    )
    assert names(TokenStream(both, shuffle=50)) == one + two
    shutil.copytree(many, tmp_path / "other")
    plan = json.loads((tmp_path / "other" / "plan.json").read_text())
    (tmp_path / "other" / "plan.json").write_text(json.dumps(plan | {"token_space": "ab" * 32}))
    with pytest.raises(CorpusError, match="holds tokens of random-24k"):
        TokenDataset([corpus, tmp_path / "other"])


def test_a_dataset_can_be_pickled_after_reading(corpus):
    dataset = TokenDataset(corpus)
    before = dataset[3]["codes"]
    assert np.array_equal(pickle.loads(pickle.dumps(dataset))[3]["codes"], before)


def test_reading_needs_no_torch(corpus):
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from ecdc.corpus import Collate, TokenDataset, TokenStream\n"
        "stream = TokenStream(TokenDataset(sys.argv[1], frames=9), shuffle=3)\n"
        "print(Collate(tensors=False)(list(stream))['codes'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(corpus)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(10, 3, 9)"


def test_bad_arguments_and_foreign_shards_are_one_line(corpus, recordings, tmp_path):
    with pytest.raises(CorpusError, match="is not a corpus"):
        TokenDataset(recordings)
    for bad in ({"frames": 0}, {"frames": 5, "windows": "whole"}, {"windows": "all"}, {"n_codebooks": 9}, {"align": 0}):
        with pytest.raises(CorpusError):
            TokenDataset(corpus, **bad)
    with pytest.raises(CorpusError, match="rank"):
        TokenStream(TokenDataset(corpus), rank=2, world=2)
    shutil.copytree(corpus, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    (tmp_path / "out" / "plan.json").write_text(json.dumps(plan | {"token_space": "ab" * 32}))
    with pytest.raises(ecdc.EcdcError, match=r"shard-000000\.tar: holds tokens of .* not of random-24k") as caught:
        TokenDataset(tmp_path / "out")[0]
    assert "\n" not in str(caught.value)
    damaged = bytearray((corpus / "shard-000001.tar").read_bytes())
    damaged[600] ^= 1
    shutil.copytree(corpus, tmp_path / "damaged")
    (tmp_path / "damaged" / "shard-000001.tar").write_bytes(damaged)
    with pytest.raises(CorpusError, match="its checksum differs"):
        TokenDataset(tmp_path / "damaged")[5]
    assert set(ecdc.corpus.__all__) <= set(dir(ecdc.corpus)) and all(getattr(ecdc.corpus, name) for name in ecdc.corpus.__all__)
