"""The reader of the browser reads what Python's reader reads, gives the same codes, and refuses the same bytes."""

import hashlib
import io
import itertools

import fuzz_reader
import make_golden
import numpy as np
import pytest
import small_prior
from ecdc.format.entropy.prior import Prior
from ecdc.format.errors import FormatError
from ecdc.format.reader import Reader
from ecdc.format.salvage import Salvage

SMALL = make_golden.HERE / "small.prior"
GOLDEN = {path.stem: path.read_bytes() for path in sorted(make_golden.HERE.glob("*.ecdc"))}


@pytest.fixture(autouse=True)
def small_prior_is_found(monkeypatch):
    monkeypatch.setenv("ECDC_PRIORS", str(SMALL))


def described(chunk):
    codes = np.ascontiguousarray(chunk.codes.T, "<u2").tobytes()
    return [chunk.first_frame, chunk.n_frames, list(chunk.n_codebooks), chunk.scale, hashlib.sha256(codes).hexdigest()]


def header_of(header):
    """The fields of a header as the browser names them."""
    names = {
        "codec": "codec", "sample_rate": "sampleRate", "original_sample_rate": "originalSampleRate", "channels": "channels",
        "n_streams": "nStreams", "channel_coding": "channelCoding", "max_codebooks": "maxCodebooks",
        "codebook_size": "codebookSize", "hop_length": "hopLength", "segment_length": "segmentLength",
        "segment_stride": "segmentStride", "pre_skip": "preSkip", "output_gain": "outputGain", "entropy": "entropy",
        "provenance": "provenance", "n_samples": "nSamples", "original_n_samples": "originalNSamples",
    }  # fmt: skip
    values = {there: getattr(header, here) for here, there in names.items()}
    tags = [list(tag) for tag in header.tags]
    return values | {"tags": tags, "tokenSpace": header.token_space.hex(), "prior": header.prior.hex()}


def forwards(reader):
    chunks = [described(chunk) for chunk in reader]
    return {"header": header_of(reader.header), "lengths": [reader.n_samples, reader.original_n_samples], "chunks": chunks}


def through_the_index(reader):
    n_frames = reader.n_frames
    starts = [n_frames // 2, n_frames - 1] if n_frames else []
    parts = [described(chunk) for start in starts for chunk in reader.chunks(start, start + 1)]
    return {"nFrames": n_frames, "lengths": [reader.n_samples, reader.original_n_samples], "parts": parts}


def salvaged(reader):
    salvage = Salvage(reader)
    chunks = [described(chunk) for chunk in salvage]
    lost = [[item.first_frame, item.n_frames, item.offset] for item in salvage.lost]
    return {"chunks": chunks, "lost": lost, "lengths": [salvage.n_samples, salvage.original_n_samples]}


WAYS = {"chunks": forwards, "index": through_the_index, "salvage": salvaged}


def expected(way, data):
    try:
        return WAYS[way](Reader(io.BytesIO(data)))
    except FormatError as error:
        return {"error": type(error).__name__, "offset": error.offset, "problem": error.message}


def same_words(problem):
    """A message without what the browser says in another way: names of Python's modules, and bytes as Python shows them.

    Of a chunk with several faults, another one may be named.
    """
    for start in ("version 0 is the original EnCodec container", "not an .ecdc stream"):
        if problem.startswith(start):
            return start
    if problem.startswith("chunk ") and ("codes of" in problem or "K must be" in problem):
        return "chunk"
    return problem.replace("supported: 0 and 1", "supported: 1").partition(" UTF-8, got")[0]


def alike(ours, wanted):
    """True if both readers return the same, or refuse the stream at the same byte with the same words."""
    if "error" in ours and "error" in wanted:
        ours, wanted = ({**row, "problem": same_words(row["problem"])} for row in (ours, wanted))
    return ours == wanted


def test_golden_streams(bare_node, engines):
    for engine in engines:
        found = bare_node("read.mjs", "chunks", engine, SMALL, blobs=list(GOLDEN.values()))
        for (name, data), ours in zip(GOLDEN.items(), found, strict=True):
            assert alike(ours, expected("chunks", data)), (engine, name)


@pytest.mark.parametrize("way", ["index", "salvage"])
def test_golden_streams_through_their_index_and_damaged(bare_node, engines, way):
    found = bare_node("read.mjs", way, engines[-1], SMALL, blobs=list(GOLDEN.values()))
    for (name, data), ours in zip(GOLDEN.items(), found, strict=True):
        assert alike(ours, expected(way, data)), name


@pytest.mark.parametrize("way", list(WAYS))
def test_mutated_streams_are_read_or_refused_alike(bare_node, engines, way):
    streams = list(itertools.islice(fuzz_reader.mutations(seed=len(way)), 600))
    found = bare_node("read.mjs", way, engines[-1], SMALL, blobs=streams)
    for data, ours in zip(streams, found, strict=True):
        wanted = expected(way, data)
        if wanted.get("error") == "MissingPrior":  # its words and its place are those of the page's catalog
            assert ours["error"] == "MissingPrior"
        else:
            assert alike(ours, wanted), data.hex()


@pytest.mark.parametrize("sizes", [{}, {"H": 9, "V": 30, "K": 5}, {"L": 0, "V": 2}, {"H": 33, "V": 100, "K": 2}])
def test_payloads_of_any_prior_are_coded_and_decoded_alike(bare_node, engines, tmp_path, sizes):
    prior = Prior(small_prior.made(seed=3, **sizes), small_prior.SPACE)
    prior.save(tmp_path / "a.prior")
    rng = np.random.default_rng(0)
    ks = (prior.n_codebooks, max(prior.n_codebooks - 1, 1))
    streams = [rng.integers(0, prior.codebook_size, (k, 23)).astype(np.uint16) for k in ks]
    payload = prior.encode(streams)
    codes = np.concatenate(streams).T.astype("<u2").tobytes()
    for engine in engines:
        (found,) = bare_node("payload.mjs", engine, tmp_path / "a.prior", *ks, blobs=[codes, payload])
        assert found == {"hash": prior.hash.hex(), "payload": payload.hex(), "codes": codes.hex()}
