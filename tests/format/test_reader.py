import io

import numpy as np
import pytest
from cases import Pipe, make_codes, make_header, pieces, read_all, sealed, write
from ecdc.format.chunk import build_chunk
from ecdc.format.errors import Corrupt, Truncated, UnsupportedVersion
from ecdc.format.reader import Reader
from ecdc.format.schema import ChannelCoding, Kind
from ecdc.format.trailer import Index, Trailer
from ecdc.format.writer import Writer
from hypothesis import given
from hypothesis import strategies as st

CODES = make_codes(4, 95)
DATA = write(make_header(), CODES, chunk_frames=10, n_samples=30_000)


@given(st.integers(0, 95), st.integers(0, 95), st.booleans())
def test_any_range_equals_that_part_of_the_whole(a, b, piped):
    start, stop = sorted((a, b))
    reader = Reader(Pipe(DATA) if piped else io.BytesIO(DATA))
    found = reader.codes(start, stop)
    assert found.dtype == np.uint16
    assert np.array_equal(found, CODES[:, start:stop]) or (start == stop and found.size == 0)


def test_ranges_that_are_not_there():
    reader = Reader(io.BytesIO(DATA))
    assert np.array_equal(reader.codes(90), CODES[:, 90:])
    for start, stop in ((90, 96), (200, 300), (-1, 3), (5, 4)):
        with pytest.raises(ValueError, match="frames"):
            reader.codes(start, stop)
    assert reader.codes(95).size == reader.codes(7, 7).size == 0


def test_chunks_of_a_range_are_whole():
    spans = [(chunk.first_frame, chunk.stop_frame) for chunk in Reader(io.BytesIO(DATA)).chunks(19, 31)]
    assert spans == [(10, 20), (20, 30), (30, 40)]


@pytest.mark.parametrize("n_first", [1, 4, 5, 6, 100])
def test_parts_are_the_chunks_with_the_first_frames_of_long_ones_apart(n_first):
    parts = list(Reader(Pipe(DATA)).parts(n_first))
    assert np.array_equal(np.hstack([part.codes for part in parts]), CODES)
    lengths = [10] * 9 + [5]
    wanted = [n for length in lengths for n in ((n_first, length - n_first) if length >= 2 * n_first else (length,))]
    assert [part.n_frames for part in parts] == wanted
    assert [part.first_frame for part in parts] == [0, *np.cumsum(wanted)[:-1]]
    head, *chunks = pieces(DATA)
    for data in (b"".join([head, chunks[1], chunks[0], *chunks[2:]]), DATA[:-300], b"".join([head, *chunks[:3], *chunks[4:]])):
        with pytest.raises((Corrupt, Truncated)):
            list(Reader(Pipe(data)).parts(n_first))


@pytest.mark.parametrize("at_most", [1, 3, 1000])
def test_short_reads_and_pipes_give_the_same(at_most):
    reader = Reader(Pipe(DATA, at_most))
    assert (reader.n_frames, reader.n_samples, reader.trailer) == (None, None, None)
    assert np.array_equal(np.hstack([chunk.codes for chunk in reader]), CODES)
    assert (reader.n_frames, reader.n_samples, reader.original_n_samples) == (95, 30_000, 55_125)
    with pytest.raises(io.UnsupportedOperation):
        next(reader.chunks())


def test_a_seek_reads_only_what_it_needs():
    class Counting(io.BytesIO):
        count = 0

        def read(self, size=-1):
            self.count += size
            return super().read(size)

    data = write(make_header(), make_codes(4, 9000), chunk_frames=90)
    file = Counting(data)
    Reader(file).codes(8000, 8010)
    assert file.count < 3 * len(data) / 100 + 1000


def test_iterations_do_not_disturb_each_other():
    reader = Reader(io.BytesIO(DATA))
    for one, two in zip(reader, reader, strict=True):
        reader.codes(50, 60)
        assert np.array_equal(one.codes, two.codes)


def test_a_stream_may_start_inside_a_file():
    file = io.BytesIO(b"something else" + DATA)
    file.seek(14)
    assert np.array_equal(Reader(file).codes(33, 44), CODES[:, 33:44])


def test_a_cut_file_is_read_up_to_the_cut_by_scanning():
    cut = b"".join(pieces(DATA)[:5]) + pieces(DATA)[5][:-1]
    reader = Reader(io.BytesIO(cut))
    assert (reader.n_frames, reader.n_samples, reader.trailer) == (40, None, None)
    assert np.array_equal(reader.codes(33, 40), CODES[:, 33:40])
    for start, stop in ((33, 41), (45, 50), (0, None)):
        with pytest.raises(Truncated):
            reader.codes(start, stop)


def test_where_k_varies_a_range_gives_what_all_its_frames_have():
    header = make_header(channels=2, channel_coding=ChannelCoding.LEFT_RIGHT)
    stream = io.BytesIO()
    with Writer(stream, header) as writer:
        writer.append(make_codes(5, 10, seed=1), (3, 2))
        writer.append(make_codes(5, 10, seed=2), (4, 1))
    expected = np.hstack([make_codes(5, 10, seed=1)[[0, 1, 2, 3]], make_codes(5, 10, seed=2)[[0, 1, 2, 4]]])
    stream.seek(0)
    reader = Reader(stream)
    assert np.array_equal(reader.codes(), expected)
    assert reader.codes(0, 10).shape == (5, 10)


def rebuilt(chunks: list[bytes], n_frames: list[int], **changes: object) -> bytes:
    """A stream of these chunks, with sequence numbers and END made to fit."""
    head, end = pieces(DATA)[0], Reader(io.BytesIO(DATA)).trailer
    chunks = [sealed(chunk[:6] + i.to_bytes(4, "little") + chunk[10:]) for i, chunk in enumerate(chunks)]
    index = Index.of(len(head), [len(chunk) for chunk in chunks], n_frames)
    values = {"n_samples": 30_000, "original_n_samples": 55_125, "checksum": end.checksum, "index": index} | changes
    return head + b"".join(chunks) + Trailer(**values).to_bytes()


@pytest.mark.parametrize("n_samples", [0, 1, 29_999, 30_000])
def test_original_lengths_are_bounded_by_the_codes(n_samples):
    """Whatever END tells, a reader gives a length that the codes can fill, or refuses, from files and pipes alike."""
    most, chunks = -(-n_samples * 441 // 240), pieces(DATA)[1:-1]
    for original in (0, most // 2, most, most + 1, 2**31, 2**48):
        data = rebuilt(chunks, [*[10] * 9, 5], n_samples=n_samples, original_n_samples=original)
        reader = Reader(io.BytesIO(data))
        if original <= most:
            assert reader.original_n_samples == original and read_all(Pipe(data))
            continue
        for source in (io.BytesIO(data), Pipe(data)):
            with pytest.raises(Corrupt, match=f"original_n_samples must be at most {most} "):
                read_all(source)


def test_chunks_of_unknown_kinds_are_skipped():
    chunks = pieces(DATA)[1:-1]
    new = build_chunk(200, 0xFF, 0, b"from a later version")
    data = rebuilt([new, *chunks[:3], new, new, *chunks[3:], new], [0, 10, 10, 10, 0, 0, *[10] * 6, 5, 0])
    assert np.array_equal(np.hstack(read_all(Pipe(data))), CODES)
    reader = Reader(io.BytesIO(data))
    for start in range(95):
        assert np.array_equal(reader.codes(start, start + 1), CODES[:, start : start + 1])
    end = data.rindex(pieces(data)[-1])
    assert np.array_equal(Reader(io.BytesIO(data[:end])).codes(25, 35), CODES[:, 25:35])


def test_new_flags_are_refused():
    chunk = pieces(DATA)[1]
    with pytest.raises(UnsupportedVersion, match="flags 0x02"):
        read_all(io.BytesIO(pieces(DATA)[0] + sealed(chunk[:5] + b"\x02" + chunk[6:])))
    end = pieces(DATA)[-1]
    with pytest.raises(UnsupportedVersion, match="flags 0x01"):
        read_all(io.BytesIO(DATA[: -len(end)] + sealed(end[:5] + b"\x01" + end[6:])))


def test_a_trailer_that_does_not_fit_is_refused():
    chunks, n_frames = pieces(DATA)[1:-1], [10] * 9 + [5]
    assert len(read_all(io.BytesIO(rebuilt(chunks, n_frames)))) == 10
    for data in (
        rebuilt(chunks, n_frames, checksum=0),
        rebuilt(chunks, n_frames, n_samples=30_401),
        rebuilt(chunks, [9, 11, *n_frames[2:]]),
        rebuilt(chunks, [*n_frames[:-1], 6]),
        rebuilt(chunks[1:], n_frames[1:]),
        rebuilt(chunks[::-1], n_frames),
        DATA + b"\0",
        DATA + DATA,
    ):
        for file in (io.BytesIO(data), Pipe(data)):
            with pytest.raises(Corrupt):
                read_all(file)


def test_extra_fields_of_a_later_end_are_ignored():
    end = pieces(DATA)[-1]
    body = end[14:-8] + b"new" + (len(end) + 3).to_bytes(4, "little")
    data = DATA[: -len(end)] + build_chunk(Kind.END, 0, 10, body)
    assert Reader(io.BytesIO(data)).n_samples == 30_000
    assert len(read_all(Pipe(data))) == 10
