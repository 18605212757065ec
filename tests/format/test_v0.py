"""The original container, held against the functions of PyPI encodec that write and read it."""

import contextlib
import io
import json
import struct

import numpy as np
import pytest
from cases import Pipe
from ecdc.format.errors import Corrupt, FormatError, OverLimit, Truncated, UnsupportedVersion
from ecdc.format.reader import Reader
from ecdc.format.v0 import MODELS, read_v0, scan_v0, write_v0
from hypothesis import given
from hypothesis import strategies as st
from peers import encodec_binary

peer = encodec_binary()


def make_segments(model_name, n_samples, n_codebooks, seed=0):
    rng = np.random.default_rng(seed)
    model = MODELS[model_name]
    return [
        (rng.integers(0, 1024, (n_codebooks, t)), float(np.float32(rng.random())) if model.segment_length else None)
        for t in model.segment_frames(n_samples)
    ]


def written_by_the_peer(model_name, n_samples, segments):
    """What its compress() does with the codes of its model."""
    file = io.BytesIO()
    peer.write_ecdc_header(file, {"m": model_name, "al": n_samples, "nc": len(segments[0][0]), "lm": False})
    for codes, scale in segments:
        if scale is not None:
            file.write(struct.pack("!f", scale))
        packer = peer.BitPacker(10, file)
        for value in codes.T.ravel().tolist():
            packer.push(value)
        packer.flush()
    return file.getvalue()


def read_by_the_peer(data):
    """What its decompress() takes from a file, with the frame counts of its development version."""
    file = io.BytesIO(data)
    about = peer.read_ecdc_header(file)
    segments = []
    for n_frames in MODELS[about["m"]].segment_frames(about["al"]):
        scale = struct.unpack("!f", file.read(4))[0] if MODELS[about["m"]].segment_length else None
        unpacker = peer.BitUnpacker(10, file)
        values = [unpacker.pull() for _ in range(n_frames * about["nc"])]
        segments.append((np.array(values).reshape(n_frames, about["nc"]).T, scale))
    assert file.read() == b""
    return segments


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(
        np.array_equal(a, b) and s == t for (a, s), (b, t) in zip(ours, theirs, strict=True)
    )


CASES = [("encodec_24khz", n, k) for n in (1, 319, 320, 321, 6720, 24_000, 26_880) for k in (2, 3, 32)]
CASES += [("encodec_48khz", n, k) for n in (1, 320, 47_520, 47_521, 48_000, 100_000) for k in (2, 7, 16)]


@pytest.mark.parametrize(("model_name", "n_samples", "n_codebooks"), CASES)
def test_bytes_are_the_peers_both_ways(model_name, n_samples, n_codebooks):
    segments = make_segments(model_name, n_samples, n_codebooks)
    ours = io.BytesIO()
    write_v0(ours, model_name, n_samples, segments)
    assert ours.getvalue() == written_by_the_peer(model_name, n_samples, segments)
    assert equal(segments, read_by_the_peer(ours.getvalue()))
    for file in (io.BytesIO(ours.getvalue()), Pipe(ours.getvalue(), at_most=5)):
        found = read_v0(file)
        assert (found.model_name, found.n_samples, found.n_codebooks) == (model_name, n_samples, n_codebooks)
        assert equal(found.segments, segments)


def small() -> bytes:
    file = io.BytesIO()
    write_v0(file, "encodec_48khz", 47_800, make_segments("encodec_48khz", 47_800, 2))
    return file.getvalue()


SMALL = small()


def test_every_truncation_is_found():
    for size in range(len(SMALL)):
        with pytest.raises(Truncated):
            read_v0(io.BytesIO(SMALL[:size]))


def test_bytes_after_the_end_are_refused():
    with pytest.raises(Corrupt, match="follow"):
        read_v0(io.BytesIO(SMALL + b"\0"))


@given(st.integers(4, 80), st.integers(0, 255))
def test_any_byte_is_read_or_refused(at, byte):
    data = bytearray(SMALL)
    data[at] = byte
    with contextlib.suppress(FormatError):
        read_v0(io.BytesIO(bytes(data)))


def with_json(text: str | bytes, rest: bytes = bytes(100)) -> io.BytesIO:
    data = text if isinstance(text, bytes) else text.encode()
    return io.BytesIO(b"ECDC\0" + struct.pack("!I", len(data)) + data + rest)


GOOD = {"m": "encodec_24khz", "al": 320, "nc": 2, "lm": False}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"m": "other"}, UnsupportedVersion, "model must be one of encodec_24khz"),
        ({"lm": True}, UnsupportedVersion, "language model"),
        ({"al": 0}, OverLimit, "1 to"),
        ({"al": 2**60}, OverLimit, "1 to"),
        ({"al": 2**48}, Truncated, "100 remain"),
        ({"nc": 0}, OverLimit, "K must be 1 to 32"),
        ({"nc": 33}, OverLimit, "K must be 1 to 32"),
        ({"al": 320.0}, Corrupt, "object"),
        ({"al": True}, Corrupt, "object"),
        ({"m": None}, Corrupt, "object"),
        ({"lm": 0}, Corrupt, "object"),
    ],
)
def test_values_that_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        read_v0(with_json(json.dumps(GOOD | changes)))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", b"\xff", "[" * 4000, '{"m": "encodec_24khz"}', "NaN"])
def test_json_that_is_refused(text):
    with pytest.raises(Corrupt, match="JSON"):
        read_v0(with_json(text))


def test_other_limits():
    with pytest.raises(OverLimit, match="at most 4096"):
        read_v0(with_json(" " * 4097))
    with pytest.raises(UnsupportedVersion, match="version 1"):
        read_v0(io.BytesIO(b"ECDC\1" + bytes(200)))
    with pytest.raises(UnsupportedVersion, match="version 0"):
        Reader(io.BytesIO(SMALL))
    for scale in (float("nan"), float("inf"), 0.0, -1.0):
        data = SMALL.replace(SMALL[-10:], SMALL[-10:])
        start = 9 + struct.unpack("!I", data[5:9])[0]
        with pytest.raises(Corrupt, match=f"byte {start}: a scale"):
            read_v0(io.BytesIO(data[:start] + struct.pack("!f", scale) + data[start + 4 :]))


@pytest.mark.parametrize(
    ("model_name", "n_samples", "segments", "message"),
    [
        ("nano-24k", 320, [([[1]], None)], "model must be"),
        ("encodec_24khz", 320, [], "K from 1"),
        ("encodec_24khz", 320, [([1], None)], "K from 1"),
        ("encodec_24khz", 0, [([[1]], None)], "segments"),
        ("encodec_24khz", 321, [([[1]], None)], "321 samples"),
        ("encodec_24khz", 320, [([[1]] * 33, None)], "K from 1 to 32"),
        ("encodec_24khz", 320, [([[1024]], None)], "integers from 0"),
        ("encodec_24khz", 320, [([[0.5]], None)], "integers from 0"),
        ("encodec_24khz", 320, [([[1]], 0.5)], "scale"),
        ("encodec_48khz", 320, [([[1]], None)], "scale"),
        ("encodec_48khz", 320, [([[1]], float("nan"))], "scale"),
    ],
)
def test_what_is_not_written(model_name, n_samples, segments, message):
    file = io.BytesIO()
    with pytest.raises(ValueError, match=message):
        write_v0(file, model_name, n_samples, segments)
    assert file.getvalue() == b""


class NoCoder:
    """Of a language model, what is needed to ask for its codes; none of them can be had."""

    n_codebooks = 16

    def decode(self, data, n_codebooks, n_frames):
        raise EOFError


@pytest.mark.parametrize("body", [0, 100, 10_000])
@pytest.mark.parametrize("n_samples", [2**48, 2**40])
def test_a_length_is_bounded_by_the_body(body, n_samples):
    """Some bytes do not stand for years, however well they are coded; nobody counts the segments one by one to find out."""
    about = GOOD | {"m": "encodec_48khz", "lm": True, "al": n_samples}
    for read in (scan_v0, lambda stream: read_v0(stream, NoCoder())):
        with pytest.raises(OverLimit, match="cannot hold"):
            read(with_json(json.dumps(about), bytes(body)))


@given(st.sampled_from(sorted(MODELS)), st.integers(1, 400_000))
def test_frames_are_counted_without_counting(model_name, n_samples):
    model = MODELS[model_name]
    assert model.n_frames(n_samples) == sum(model.segment_frames(n_samples))


def test_nothing_is_advised_where_nothing_helps():
    for data in (SMALL[:-1], SMALL + b"x", SMALL[:7]):
        with pytest.raises(FormatError) as caught:
            read_v0(io.BytesIO(data))
        assert caught.value.advice == ""
