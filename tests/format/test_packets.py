"""Packets: what was put in comes out, each by itself; other bytes are refused; SPEC.md's examples and a second reader agree."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from cases import make_header
from ecdc.format import FormatError
from ecdc.format.entropy.continuation import most_likely
from ecdc.format.entropy.prior import read_prior
from ecdc.format.errors import ArgumentError
from ecdc.format.packets import (
    End,
    Packet,
    PacketKind,
    decode_description,
    decode_end,
    decode_packet,
    encode_description,
    encode_end,
    encode_packet,
    packet_kind,
)
from ecdc.format.schema import ChannelCoding, Entropy
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_reader import Prior, Refused, read_packet
from test_spec import SPEC

SMALL = Path(__file__).parent / "golden" / "small.prior"
STEREO = make_header(channels=2, channel_coding=ChannelCoding.MID_SIDE)


@pytest.fixture(scope="module")
def coded():
    """A header whose codes are coded with a prior, and the second reader's view of that prior."""
    prior = read_prior(SMALL)
    header = make_header(
        token_space=prior.token_space, max_codebooks=prior.n_codebooks, codebook_size=prior.codebook_size,
        entropy=Entropy.PRIOR, prior=prior.hash,
    )  # fmt: skip
    return header, Prior(SMALL.read_bytes())


def random_packet(header, rng, n_frames=3, n_copied=0, ks=None):
    ks = ks or tuple(int(rng.integers(1, header.max_codebooks + 1)) for _ in range(header.n_streams))
    codes = rng.integers(0, header.codebook_size, (sum(ks), n_frames)).astype(np.uint16)
    copied = rng.integers(0, header.codebook_size, (2 * header.n_streams if n_copied else 0, n_copied)).astype(np.uint16)
    return Packet(int(rng.integers(0, 1 << 16)), codes, ks, copied)


def same(one, two):
    assert (one.first_frame, one.n_codebooks) == (two.first_frame, two.n_codebooks)
    np.testing.assert_array_equal(one.codes, two.codes)
    assert one.copied.shape[1] == two.copied.shape[1] and one.copied.tolist() == two.copied.tolist()


@pytest.mark.parametrize("header", [make_header(), STEREO], ids=["mono", "stereo"])
@given(seed=st.integers(0, 2**32), n_frames=st.integers(1, 16), n_copied=st.integers(0, 64))
@settings(max_examples=40, deadline=None)
def test_what_is_put_in_comes_out(header, seed, n_frames, n_copied):
    packet = random_packet(header, np.random.default_rng(seed), n_frames, n_copied)
    data = encode_packet(packet, header)
    assert packet_kind(data) is PacketKind.FRAMES
    same(decode_packet(data, header), packet)
    found = read_packet(data, {"n_streams": header.n_streams, "bits": 10, "max_codebooks": 16, "codebook_size": 1024})
    assert found["codes"] == packet.codes.tolist() and found["copied"] == packet.copied.T.tolist()


@pytest.mark.parametrize("n_frames", [1, 2, 5, 16])
def test_packets_coded_with_a_prior_need_no_other_packet(coded, n_frames):
    header, second = coded
    facts = {"n_streams": 1, "bits": header.bits, "max_codebooks": header.max_codebooks, "codebook_size": header.codebook_size}
    for seed in range(20):
        packet = random_packet(header, np.random.default_rng(seed), n_frames, n_copied=seed % 3)
        data = encode_packet(packet, header, Entropy.PRIOR)
        same(decode_packet(data, header), packet)
        assert read_packet(data, facts, second)["codes"] == packet.codes.tolist()
        assert len(encode_packet(packet, header)) <= min(len(data), len(encode_packet(packet, header, Entropy.RAW)))


def test_silence_and_changing_rates(coded):
    for ks in ((0, 0), (3, 0), (0, 2)):
        packet = random_packet(STEREO, np.random.default_rng(0), ks=ks)
        same(decode_packet(encode_packet(packet, STEREO), STEREO), packet)
    packet = random_packet(coded[0], np.random.default_rng(0), ks=(0,))
    same(decode_packet(encode_packet(packet, coded[0]), coded[0]), packet)


@given(data=st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_packet_or_refused(coded, data):
    header, second = coded
    facts = {"n_streams": 1, "bits": header.bits, "max_codebooks": header.max_codebooks, "codebook_size": header.codebook_size}
    for read in (lambda: packet_kind(data), lambda: decode_description(data), lambda: decode_end(data)):
        with contextlib.suppress(FormatError):
            read()
    try:
        ours = decode_packet(data, header).codes.tolist()
    except FormatError:
        ours = None
    try:
        theirs = read_packet(data, facts, second)["codes"]
    except Refused:
        theirs = None
    assert ours == theirs


def test_truncated_packets_are_refused_or_shorter_ones(coded):
    header, _ = coded
    packet = random_packet(header, np.random.default_rng(1), 4, 3)
    data = encode_packet(packet, header, Entropy.RAW)
    for n in range(len(data)):
        with pytest.raises(FormatError):
            decode_packet(data[:n], header)


def test_descriptions_and_ends():
    header = make_header()
    assert decode_description(encode_description(header)) == header
    for bad in (encode_description(header)[:-1], encode_description(header) + b"\0", b"\x04" + header.to_bytes(), b"", b"\0"):
        with pytest.raises(FormatError):
            decode_description(bad)
    with pytest.raises(FormatError, match="segments"):
        decode_description(encode_description(make_header(segment_length=640, segment_stride=640)))
    assert decode_end(encode_end(End(65535, 1 << 40))) == End(65535, 1 << 40)
    for bad in (b"\x02" + bytes(9), b"\x02" + bytes(11), b"\x02\0\0" + b"\xff" * 8):
        with pytest.raises(FormatError):
            decode_end(bad)


def test_what_cannot_be_a_packet_is_refused_when_it_is_made():
    header, none = make_header(), np.zeros((0, 0), np.uint16)
    frames = np.zeros((2, 3), np.uint16)
    for packet in (
        Packet(1 << 16, frames, (2,), none), Packet(0, frames, (3,), none), Packet(0, frames[:, :0], (2,), none),
        Packet(0, np.zeros((2, 17), np.uint16), (2,), none), Packet(0, frames + np.uint16(1024), (2,), none),
        Packet(0, frames, (2,), np.zeros((1, 65), np.uint16)), Packet(0, frames, (2, 2), none),
    ):  # fmt: skip
        with pytest.raises(ArgumentError):
            encode_packet(packet, header)


def test_examples():
    (block,) = re.findall(r"```packets\n(.*?)```", SPEC, re.DOTALL)
    first, second, end = (bytes.fromhex(line) for line in block.splitlines())
    header = make_header()
    one, two = decode_packet(first, header), decode_packet(second, header)
    assert (one.first_frame, one.codes.tolist()) == (65535, [[1, 2], [1023, 0]])
    assert (two.first_frame, two.codes.tolist(), two.copied.tolist()) == (1, [[3]], [[1, 2]])
    assert encode_packet(one, header) == first and encode_packet(two, header) == second
    assert decode_end(end) == End(2, 900)


def test_the_most_likely_next_frame_is_the_one_that_codes_shortest():
    """No other code for the first codebook costs fewer bits, given the frames before."""
    prior = read_prior(SMALL)
    codes = np.random.default_rng(0).integers(0, prior.codebook_size, (prior.n_codebooks, 9)).astype(np.uint16)
    likely = most_likely(prior, codes)
    sizes = []
    for code in range(prior.codebook_size):
        tried = likely.copy()
        tried[0] = code
        sizes.append(prior.intervals(np.concatenate([codes, tried], axis=1))[1][-prior.n_codebooks])
    assert int(np.argmax(sizes)) == likely[0, 0]
