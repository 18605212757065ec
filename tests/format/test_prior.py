"""The entropy prior: integers only, the same on every path; bytes that no encoder made are refused; files name their prior."""

import io
import os
import subprocess
import sys
from itertools import accumulate, pairwise

import numpy as np
import pytest
import spec_reader
from cases import pieces, sealed
from ecdc.format import ChannelCoding, Corrupt, Entropy, FormatError, Header, MissingPrior, Reader, Writer
from ecdc.format.entropy import installed_priors, prior_kernels, rangecoder
from ecdc.format.entropy.prior import LAYOUT, Prior, read_prior
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_prior import SPACE, likely, made


@pytest.fixture(scope="module")
def prior():
    return Prior(made(), SPACE)


@pytest.fixture
def here(prior, tmp_path, monkeypatch):
    """The folder in which the prior is found."""
    prior.save(tmp_path / "small.prior")
    monkeypatch.setenv("ECDC_PRIORS", str(tmp_path))
    return tmp_path


def header_with(own, **fields):
    values = {
        "codec": "small", "token_space": SPACE, "sample_rate": 100, "hop_length": 10, "codebook_size": 17,
        "max_codebooks": 3, "original_sample_rate": 100, "entropy": Entropy.PRIOR, "prior": own.hash,
    }  # fmt: skip
    return Header(**(values | fields))


@st.composite
def streams(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_frames = draw(st.integers(1, 70))
    return [rng.integers(0, 17, (draw(st.integers(0, 3)), n_frames)).astype(np.uint16) for _ in range(draw(st.integers(1, 2)))]


@given(streams())
@settings(deadline=None, max_examples=40)
def test_decoding_undoes_encoding(prior, codes):
    payload = prior.encode(codes)
    found = prior.decode(payload, tuple(len(rows) for rows in codes), codes[0].shape[1])
    assert all(np.array_equal(a, b) for a, b in zip(found, codes, strict=True))


@given(streams(), st.lists(st.integers(0, 30), max_size=6))
@settings(deadline=None, max_examples=40)
def test_codes_that_come_in_blocks_give_the_same_payload(prior, codes, sizes):
    coding, whole = prior.coding(tuple(map(len, codes))), np.concatenate(codes)
    for start, stop in pairwise([*accumulate(sizes, initial=0), whole.shape[1]]):
        coding.push(whole[:, start:stop] if start < stop else whole[:, :0])
    coding.push(whole[:, coding.n_frames :])
    assert coding.payload() == prior.encode(codes)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.integers(1, 60), st.booleans())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_streams_do_not_depend_on_how_their_codes_came(prior, here, sizes, chunk_frames, is_stereo):
    """Neither where blocks end nor where chunks do, nor a block that is empty, changes a byte."""
    rows = likely(prior, (3, sum(sizes)), 3)
    ks = (2, 1) if is_stereo else (3,)
    fields = {"channels": 2, "channel_coding": ChannelCoding.MID_SIDE} if is_stereo else {}
    parts = [(rows[:, start:stop], ks) for start, stop in pairwise(accumulate(sizes, initial=0))]
    empty = (rows[:, :0], ks)
    whole = stream_of(prior, [(rows, ks)], chunk_frames, **fields)
    assert stream_of(prior, [part for each in parts for part in (each, empty)], chunk_frames, **fields) == whole


@given(streams(), st.integers(1, 80))
@settings(deadline=None, max_examples=40)
def test_the_first_frames_may_come_before_the_rest(prior, codes, n_first):
    ks, n_frames = tuple(map(len, codes)), codes[0].shape[1]
    parts = list(prior.decode_parts(prior.encode(codes), ks, n_frames, n_first))
    assert np.array_equal(np.concatenate(parts, axis=1), np.concatenate(codes))
    assert [part.shape[1] for part in parts] == (
        [n_first, n_frames - n_first] if n_first < n_frames and len(ks) == 1 else [n_frames]
    )


@given(st.lists(st.integers(-(2**22), 2**22), min_size=2, max_size=40))
@settings(deadline=None)
def test_frequencies_share_out_the_whole(logits):
    table, found = made()["table"], np.empty(len(logits), np.int32)
    prior_kernels.frequencies(np.array(logits, np.int32), table, found)
    assert found.min() >= 1 and found.sum() == rangecoder.TOTAL and found[np.argmax(logits)] == found.max()
    order = [v for v in np.argsort(logits, kind="stable") if v != np.argmax(logits)]
    assert (np.diff(found[order]) >= 0).all()


@given(streams(), st.data())
@settings(deadline=None, max_examples=60)
def test_damage_is_refused_or_gives_other_codes_in_range(prior, codes, data):
    ks, n_frames = tuple(len(rows) for rows in codes), codes[0].shape[1]
    payload = bytearray(prior.encode(codes))
    if data.draw(st.booleans()):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    try:
        found = prior.decode(bytes(payload), ks, n_frames)
    except ValueError:
        return
    assert all(rows.max(initial=0) < 17 for rows in found)
    assert not all(np.array_equal(a, b) for a, b in zip(found, codes, strict=True))


def test_codes_that_it_finds_likely_take_few_bits(prior):
    codes = likely(prior, (3, 300), 1)
    starts, sizes = prior.intervals(codes)
    bits = -np.log2(sizes / rangecoder.TOTAL).sum()
    assert bits < 0.8 * codes.size * np.log2(17) and len(prior.encode([codes])) < bits / 8 + 12
    assert starts.min() >= 0 and (starts + sizes).max() <= rangecoder.TOTAL


def stream_of(own, parts, chunk_frames=30, **fields):
    stream = io.BytesIO()
    with Writer(stream, header_with(own, **fields), chunk_frames, verify=True) as writer:
        for codes, ks in parts:
            writer.append(codes, ks)
    return stream.getvalue()


@pytest.mark.parametrize("stereo", [False, True])
def test_streams_round_trip_and_both_readers_agree(prior, here, stereo):
    parts = [(likely(prior, (k, 50), k), (k,)) for k in (2, 3, 1)]
    noise = np.random.default_rng(0).integers(0, 17, (3, 40)).astype(np.uint16)  # nothing that a prior could make smaller
    parts.append((noise, (3,)))
    fields = {}
    if stereo:
        parts = [(np.concatenate([codes, codes[:1]]), (*ks, 1)) for codes, ks in parts]
        fields = {"channels": 2, "channel_coding": ChannelCoding.MID_SIDE}
    data = stream_of(prior, parts, **fields)
    assert data[5] == 1  # minor version
    chunks = list(Reader(io.BytesIO(data)))
    header, _, found = spec_reader.read(data, spec_reader.Prior((here / "small.prior").read_bytes()))
    assert header["prior"] == prior.hash
    for ours, theirs in zip(chunks, found, strict=True):
        assert ours.codes.T.tolist() == theirs["codes"]
    rows = [codes for codes, _ in parts]
    assert np.concatenate([c.codes[0] for c in chunks]).tolist() == np.concatenate([r[0] for r in rows]).tolist()
    raw = stream_of(prior, parts, entropy=Entropy.RAW, prior=b"", **fields)
    assert len(data) < len(raw)
    coded = {data[offset + 14 + 10] for offset in Reader(io.BytesIO(data)).index.offsets[:-1]}
    assert coded == {0, 1}  # chunks that it would make larger are left as they are


def test_any_truncation_and_any_changed_byte_shows(prior, here):
    data = stream_of(prior, [(likely(prior, (3, 40), 5), (3,))])
    whole = Reader(io.BytesIO(data)).codes()
    for size in range(len(data)):
        with pytest.raises(FormatError):
            list(Reader(io.BytesIO(data[:size])))
    for i in range(0, len(data), 3):
        with pytest.raises(FormatError):
            list(Reader(io.BytesIO(data[:i] + bytes([data[i] ^ 16]) + data[i + 1 :])))
    assert whole.shape == (3, 40)


def test_a_missing_prior_is_named_with_those_that_are_here(prior, here):
    other = Prior(made(seed=3), SPACE)
    header = header_with(other)
    with pytest.raises(MissingPrior, match=f"{other.hash.hex()}.*small.prior {prior.hash.hex()}.*ECDC_PRIORS"):
        Writer(io.BytesIO(), header).append(np.zeros((1, 500), np.uint16))
    data = bytearray(stream_of(prior, [(likely(prior, (3, 40), 5), (3,))]))
    reader = Reader(io.BytesIO(bytes(data)))
    (here / "small.prior").unlink()
    installed_priors._by_hash.cache_clear()
    with pytest.raises(MissingPrior, match=prior.hash.hex()):
        reader.codes()
    assert reader.n_frames == 40  # what needs no codes needs no prior


def test_a_chunk_coded_with_a_prior_needs_a_header_that_names_one(prior, here):
    parts = pieces(stream_of(prior, [(likely(prior, (3, 40), 5), (3,))]))
    raw = pieces(stream_of(prior, [(likely(prior, (3, 40), 5), (3,))], entropy=Entropy.RAW, prior=b""))
    with pytest.raises(Corrupt, match="names none"):
        list(Reader(io.BytesIO(b"".join([raw[0], sealed(parts[1]), raw[2]]))))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("mix_now", None, "mix_now is missing"),
        ("head_bias", np.zeros((3, 16), np.int32), r"head_bias must be int32 \[K V\]"),
        ("head_bias", np.full((3, 17), 2**20 + 1, np.int32), "within"),
        ("head_weight", np.full((3, 8, 17), -128, np.int8), "at least -127"),
        ("head_weight", np.zeros((3, 8, 17), np.int16), "int8"),
        ("table", np.arange(40, dtype=np.int32), "never rise"),
        ("table", np.zeros(40, np.int32), "never rise"),
        ("dilations", np.array([0, 1, 2], np.int32), "dilations"),
    ],
)
def test_arrays_that_are_no_prior(name, value, problem, tmp_path):
    arrays = made() | {name: value}
    if value is None:
        del arrays[name]
    with pytest.raises(ValueError, match=problem):
        Prior(arrays, SPACE)
    (tmp_path / "x.prior").write_bytes(b"no safetensors")
    with pytest.raises(ValueError, match="is not a prior"):
        read_prior(tmp_path / "x.prior")


def test_every_number_counts_for_the_hash(prior, tmp_path):
    prior.save(tmp_path / "a.prior")
    assert read_prior(tmp_path / "a.prior").hash == prior.hash
    for name in LAYOUT:
        arrays = made()
        if name in ("table", "dilations"):
            arrays[name][-1] += 1 if name == "dilations" else -1
        else:
            arrays[name].flat[-1] //= 2
        assert Prior(arrays, SPACE).hash != prior.hash


GOLDEN = """
import hashlib, sys
sys.path.insert(0, {folder!r})
import numpy as np
from small_prior import SPACE, made
from ecdc.format.entropy.prior import Prior
prior = Prior(made(), SPACE)
codes = np.array([[(t * t * (k + 3) + t) % 17 for t in range(90)] for k in range(3)], np.uint16)
starts, sizes = prior.intervals(codes)
payload = prior.encode([codes, codes[:2]])
assert np.array_equal(prior.decode(payload, (3, 2), 90)[0], codes)
for part in (starts.astype("<i8").tobytes() + sizes.astype("<i8").tobytes(), payload):
    print(hashlib.sha256(part).hexdigest())
"""


@pytest.mark.parametrize("environment", [{}, {"NUMBA_DISABLE_JIT": "1"}, {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}])
def test_golden_vectors(environment):
    """Codes -> distributions -> bytes: the same hashes on every machine, with the compiler and without, on any threads."""
    script = GOLDEN.format(folder=os.path.dirname(__file__))
    found = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [
        "7fdd889d8c26c2a57809fbff8f14347203fb37b0edb8087b8c129b8f7061f018",
        "30e131dff986a934ce39a3243eb494e6b2ef8902b046899a5ca00d2731211fea",
    ]


def test_salvage_takes_no_missing_prior_for_damage(prior, here):
    from ecdc.format.salvage import Salvage

    data = stream_of(prior, [(likely(prior, (3, 40), 5), (3,))])
    broken = bytearray(data)
    broken[-80] ^= 1
    assert sum(chunk.n_frames for chunk in Salvage(Reader(io.BytesIO(bytes(broken))))) >= 30
    (here / "small.prior").unlink()
    installed_priors._by_hash.cache_clear()
    with pytest.raises(MissingPrior):
        list(Salvage(Reader(io.BytesIO(data))))
