"""Whatever happens to the bytes, a reader says so with a FormatError, soon, and without claiming memory."""

import contextlib
import io
import pickle
import tracemalloc

import numpy as np
import pytest
from cases import Pipe, make_codes, make_header, pieces, read_all, sealed, write
from ecdc.format import errors
from ecdc.format.chunk import build_chunk
from ecdc.format.errors import Corrupt, FormatError, OverLimit, Truncated
from ecdc.format.reader import Reader
from ecdc.format.schema import ChannelCoding, Kind
from ecdc.format.v0 import read_v0
from ecdc.format.writer import Writer
from hypothesis import example, given
from hypothesis import strategies as st


def small_stream() -> bytes:
    """Every feature in few bytes: two streams, segments, scales, a change of K, a tag, V that is no power of two."""
    header = make_header(
        channels=2, channel_coding=ChannelCoding.MID_SIDE, codebook_size=700, max_codebooks=3,
        segment_length=960, segment_stride=640, tags=(("title", "x"),),
    )  # fmt: skip
    stream = io.BytesIO()
    with Writer(stream, header) as writer:
        writer.append_segment(make_codes(3, 3, 700), 0.5, (2, 1))
        writer.append_segment(make_codes(1, 2, 700), None, (1, 0))
    return stream.getvalue()


SMALL = small_stream()


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_every_truncation_is_found(wrap):
    for size in range(len(SMALL)):
        with pytest.raises(Truncated):
            read_all(wrap(SMALL[:size]))


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_every_flipped_bit_is_found(wrap):
    for bit in range(8 * len(SMALL)):
        damaged = bytearray(SMALL)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            read_all(wrap(bytes(damaged)))


def test_a_cut_stream_gives_every_whole_chunk_first():
    codes = make_codes(2, 35)
    data = write(make_header(), codes, chunk_frames=10)
    ends = np.cumsum([len(piece) for piece in pieces(data)])
    for size in range(ends[0], len(data)):
        given_frames = 0
        with pytest.raises(Truncated) as caught:
            for chunk in Reader(Pipe(data[:size])):
                given_frames = chunk.stop_frame
        assert given_frames == 10 * (int(np.searchsorted(ends, size, side="right")) - 1) - 5 * (size >= ends[4])
        assert caught.value.offset == ends[ends <= size][-1]


@given(st.data())
def test_values_with_a_right_crc_are_read_or_refused(data):
    """What a broken or hostile writer makes: any bytes, but checksums that hold."""
    parts = pieces(SMALL)
    i = data.draw(st.integers(0, len(parts) - 1))
    part = bytearray(parts[i])
    for _ in range(data.draw(st.integers(1, 3))):
        part[data.draw(st.integers(4, len(part) - 5))] = data.draw(st.integers(0, 255))
    parts[i] = sealed(bytes(part))
    file = io.BytesIO(b"".join(parts))
    with contextlib.suppress(FormatError):
        read_all(file)
    file.seek(0)
    with contextlib.suppress(FormatError):
        Reader(file).codes(1, 2)


@given(st.binary(max_size=300), st.sampled_from([b"", b"ECDC\x01\x00", b"ECDC\x00", pieces(SMALL)[0]]))
@example(b"", b"")
def test_any_bytes_are_read_or_refused(rest, start):
    for read in (read_all, read_v0):
        with contextlib.suppress(FormatError):
            read(io.BytesIO(start + rest))


@given(st.sampled_from(list(Kind)), st.integers(0, 1), st.binary(max_size=80))
def test_any_chunk_body_is_read_or_refused(kind, flags, body):
    with contextlib.suppress(FormatError):
        read_all(io.BytesIO(pieces(SMALL)[0] + build_chunk(kind, flags, 0, body)))


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
@pytest.mark.parametrize(
    "data",
    [
        pieces(SMALL)[0] + bytes.fromhex("ecdc936b 01 00 00000000 00048000"),  # CODES: the largest body
        pieces(SMALL)[0] + bytes.fromhex("ecdc936b 01 00 00000000 ffffffff"),
        pieces(SMALL)[0] + bytes.fromhex("ecdc936b 02 00 ffffffff ffffffff"),  # END: an index of 24 GB
        pieces(SMALL)[0] + build_chunk(Kind.CODES, 0, 0, bytes.fromhex("0000000000000000 ffff 00 0303")),  # codes without bytes
        pieces(SMALL)[0] + build_chunk(Kind.CODES, 0, 0, bytes.fromhex("0000000000000000 ffff 00 0000")),  # 65535 frames, K = 0
    ],
)
def test_memory_is_justified_by_the_bytes_present(wrap, data):
    tracemalloc.start()
    with contextlib.suppress(FormatError):
        read_all(wrap(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("", Corrupt, "end inside a field"),
        ("0100000000000100 0100 00 00", OverLimit, "first_frame must be"),
        ("0000000000000000 0000 00 00", OverLimit, "n_frames must be"),
        ("0100000000000000 0100 00 00", Corrupt, "must start at frame 0, got 1"),
        ("0000000000000000 0100 00 11" + "00" * 22, Corrupt, "K must be 0 to 16"),
        ("0000000000000000 0100 00 01 000000", Corrupt, "take 2 bytes, got 3"),
        ("0000000000000000 0100 00 01 0004", Corrupt, "unused bits"),
        ("0000000000000000 0100 00 01 f003", Corrupt, "codes must be below 1000, got 1008"),
        ("0000000000000000 0100 00 01 0000", Truncated, "next chunk"),
    ],
)
def test_each_way_that_codes_can_be_wrong(body, error, message):
    header = make_header(codebook_size=1000).to_bytes()
    with pytest.raises(error, match=message) as caught:
        read_all(io.BytesIO(header + build_chunk(Kind.CODES, 0, 0, bytes.fromhex(body))))
    assert caught.value.offset >= len(header)


@pytest.mark.parametrize(("flags", "scale"), [(1, "0000803f"), (1, "0000c07f")])
def test_a_scale_where_none_belongs_or_that_is_none(flags, scale):
    body = bytes.fromhex("0000000000000000 0100 00 01" + scale + "0000")
    with pytest.raises(Corrupt, match="scale"):
        read_all(io.BytesIO(make_header().to_bytes() + build_chunk(Kind.CODES, flags, 0, body)))


def test_too_many_codes_in_a_chunk():
    header = make_header(max_codebooks=255, codebook_size=2).to_bytes()
    body = bytes.fromhex("0000000000000000 ffff 00 ff") + bytes(65535 * 255 // 8 + 1)
    with pytest.raises(OverLimit, match="at most 4194304 codes"):
        read_all(io.BytesIO(header + build_chunk(Kind.CODES, 0, 0, body)))


def test_errors_are_one_line_with_the_byte_and_survive_pickling():
    for name in ("NotEcdc", "UnsupportedVersion", "Truncated", "Corrupt", "OverLimit", "WrongModel"):
        error = getattr(errors, name)(4096, "chunk 12 needs 310 bytes, 207 remain")
        assert isinstance(error, FormatError)
        assert str(pickle.loads(pickle.dumps(error))) == "byte 4096: chunk 12 needs 310 bytes, 207 remain"
