import contextlib
import io

import pytest
from cases import BASE, headers, make_header, sealed
from ecdc.format.bytestream import Source
from ecdc.format.errors import Corrupt, FormatError, NotEcdc, OverLimit, Truncated, UnsupportedVersion, WrongModel
from ecdc.format.header import Header, major_version, read_header
from ecdc.format.schema import ChannelCoding, FieldError
from hypothesis import given
from hypothesis import strategies as st


def parse(data: bytes) -> Header:
    return read_header(Source(io.BytesIO(data)))


def patched(offset: int, new: str) -> bytes:
    """The wire form of BASE with other bytes at an offset, and a right CRC."""
    data, patch = BASE.to_bytes(), bytes.fromhex(new)
    return sealed(data[:offset] + patch + data[offset + len(patch) :])


@given(headers())
def test_reading_undoes_writing(header):
    assert parse(header.to_bytes()) == header


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"original_sample_rate": 2**24 + 1}, "original_sample_rate"),
        ({"hop_length": 0}, "hop_length"),
        ({"codebook_size": 1}, "codebook_size"),
        ({"codebook_size": 65_537}, "codebook_size"),
        ({"max_codebooks": 0}, "max_codebooks"),
        ({"max_codebooks": 256}, "max_codebooks"),
        ({"channels": 2}, "channels"),
        ({"channels": 0, "channel_coding": ChannelCoding.JOINT}, "channels"),
        ({"channels": 1, "channel_coding": ChannelCoding.MID_SIDE}, "channels"),
        ({"channel_coding": 0}, "channel_coding"),
        ({"token_space": b"short"}, "token_space"),
        ({"codec": ""}, "codec"),
        ({"codec": "a\nb"}, "codec"),
        ({"codec": "x" * 256}, "codec"),
        ({"segment_length": 10}, "segment_stride"),
        ({"segment_stride": 10}, "segment_stride"),
        ({"segment_length": 10, "segment_stride": 11}, "segment_stride"),
        ({"segment_length": 2**24, "segment_stride": 1, "hop_length": 1}, "segment_length"),
        ({"output_gain": 2**15}, "output_gain"),
        ({"pre_skip": -1}, "pre_skip"),
        ({"prior": bytes(32)}, "prior"),
        ({"n_samples": -1}, "n_samples"),
        ({"n_samples": 2**48 + 1}, "n_samples"),
        ({"original_sample_rate": 24_000, "n_samples": 5, "original_n_samples": 6}, "original_n_samples"),
        ({"original_sample_rate": 24_001, "n_samples": 5, "original_n_samples": 7}, "original_n_samples"),
        ({"original_sample_rate": 2**24, "n_samples": 960, "original_n_samples": 2**48}, "original_n_samples"),
        ({"original_sample_rate": 8_000, "n_samples": 0, "original_n_samples": 1}, "original_n_samples"),
        ({"tags": (("", "x"),)}, "tags"),
        ({"tags": (("a=b", "x"),)}, "tags"),
        ({"tags": (("a\x00", "x"),)}, "tags"),
        ({"tags": (("a", "\udcff"),)}, "tags"),  # an argument of a command that is not UTF-8
        ({"codec": "\udcff"}, "codec"),
        ({"tags": (("a", "x" * 65_534),)}, "tags"),
        ({"tags": (("a", "x" * 65_500),)}, "tags"),
        ({"tags": (("a", "x"),) * 256}, "tags"),
    ],
)
def test_what_may_not_be_written_names_its_field(changes, field):
    with pytest.raises(FieldError) as caught:
        make_header(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("offset", "new", "error", "where"),
    [
        (5, "07", None, None),  # a later minor version
        (8, "00000000", OverLimit, 8),  # sample_rate
        (17, "02", Corrupt, 17),  # two streams for mono
        (17, "03", OverLimit, 17),
        (18, "02", Corrupt, 17),  # mid/side with one stream
        (18, "09", UnsupportedVersion, 18),  # channel coding
        (19, "00", OverLimit, 19),  # max_codebooks
        (20, "01000100", OverLimit, 20),  # V = 65537
        (28, "01000000", Corrupt, 32),  # segment without stride
        (42, "02", UnsupportedVersion, 42),  # entropy
        (42, "01", Corrupt, 92),  # a prior that is not named
        (43, "02", UnsupportedVersion, 43),  # provenance
        (44, "ffffffffffff0000", None, None),
        (44, "ffffffffffffff00", OverLimit, 44),  # n_samples
        (92, "00", Corrupt, 92),  # codec without a name
        (92, "ff", Corrupt, 0),  # name longer than the header
        (93, "ff", Corrupt, 92),  # not UTF-8
        (101, "01", Corrupt, 101),  # a prior of one byte
        (102, "01", Corrupt, 0),  # a tag that is not there
    ],
)
def test_what_may_not_be_read_names_its_byte(offset, new, error, where):
    if error is None:
        parse(patched(offset, new))
        return
    with pytest.raises(error) as caught:
        parse(patched(offset, new))
    assert caught.value.offset == where


def test_fields_of_a_later_minor_version_are_ignored():
    data = bytearray(BASE.to_bytes()[:-4] + b"something new" + bytes(4))
    data[5:8] = bytes([9]) + len(data).to_bytes(2, "little")
    assert parse(sealed(bytes(data))) == BASE


def test_each_side_recognises_the_other():
    with pytest.raises(UnsupportedVersion, match="byte 4: version 0 is the original EnCodec container"):
        parse(b"ECDC\x00\x00\x00\x00\x40")
    with pytest.raises(UnsupportedVersion, match="byte 4: version 2"):
        parse(b"ECDC\x02" + BASE.to_bytes()[5:])
    assert major_version(BASE.to_bytes()) == 1


@pytest.mark.parametrize("data", [b"RIFF1234", b"OggS", b"EC!", b"\x00"])
def test_other_formats_are_not_ours(data):
    with pytest.raises(NotEcdc, match="byte 0: not an"):
        parse(data)


def test_every_truncation_of_the_header_is_found():
    data = BASE.to_bytes()
    for size in range(len(data)):
        with pytest.raises(Truncated):
            parse(data[:size])


@given(st.binary(max_size=200))
def test_any_header_body_is_read_or_refused(body):
    size = 8 + len(body) + 4
    with contextlib.suppress(FormatError):
        parse(sealed(b"ECDC\x01\x00" + size.to_bytes(2, "little") + body + bytes(4)))


def test_a_wrong_model_is_refused_with_both_hashes():
    BASE.require("nano-24k", BASE.token_space)
    with pytest.raises(WrongModel) as caught:
        BASE.require("other", bytes(32))
    assert BASE.token_space.hex() in str(caught.value) and bytes(32).hex() in str(caught.value)


def test_derived_values():
    assert (BASE.bits, BASE.frame_rate, BASE.n_streams, BASE.segment_frames) == (10, 75, 1, 0)
    assert BASE.default_chunk_frames == 375
    assert make_header(hop_length=1, max_codebooks=255).default_chunk_frames * 255 <= 2**22
    assert make_header(sample_rate=1, hop_length=1000).default_chunk_frames == 1
