import io
import os
import threading

import numpy as np
import pytest
from cases import make_codes, make_header, pieces, read_all, write
from ecdc.format.bitpack import pack_codes
from ecdc.format.errors import Truncated
from ecdc.format.reader import Reader
from ecdc.format.schema import ChannelCoding
from ecdc.format.writer import Writer
from hypothesis import given
from hypothesis import strategies as st

STEREO = make_header(channels=2, channel_coding=ChannelCoding.MID_SIDE)
SEGMENTED = make_header(segment_length=3200, segment_stride=3000)


@given(st.integers(1, 65_536), st.integers(0, 60), st.integers(1, 70), st.integers(1, 4), st.integers(0, 99))
def test_reading_undoes_writing(step, n_frames, chunk_frames, n_rows, seed):
    header = make_header(codebook_size=max(step, 2))
    codes = make_codes(n_rows, n_frames, header.codebook_size, seed)
    reader = Reader(io.BytesIO(write(header, codes, chunk_frames)))
    assert reader.header == header
    assert reader.n_frames == n_frames
    assert np.array_equal(reader.codes(), codes if n_frames else np.empty((0, 0)))


@given(st.lists(st.integers(0, 25)), st.integers(1, 20))
def test_how_frames_are_cut_into_calls_changes_no_byte(steps, chunk_frames):
    codes = make_codes(2, sum(steps))
    stream = io.BytesIO()
    with Writer(stream, make_header(), chunk_frames) as writer:
        for stop, step in zip(np.cumsum(steps), steps, strict=True):
            writer.append(codes[:, stop - step : stop])
        assert writer.n_frames == codes.shape[1]
    assert stream.getvalue() == write(make_header(), codes, chunk_frames)
    assert writer.n_bytes == len(stream.getvalue())


@given(st.lists(st.integers(0, 25), max_size=8), st.integers(1, 20))
def test_flush_writes_what_waits_and_nothing_else(steps, chunk_frames):
    codes, stream = make_codes(2, sum(steps)), io.BytesIO()
    with Writer(stream, make_header(), chunk_frames) as writer:
        for stop, step in zip(np.cumsum(steps), steps, strict=True):
            writer.append(codes[:, stop - step : stop])
            writer.flush()
            size = writer.n_bytes
            writer.flush()
            assert writer.n_bytes == size == len(stream.getvalue())
    stream.seek(0)
    chunks = list(Reader(stream))
    assert [chunk.n_frames for chunk in chunks] == [
        min(chunk_frames, step - start) for step in steps for start in range(0, step, chunk_frames)
    ]
    if chunks:
        assert np.array_equal(np.concatenate([chunk.codes for chunk in chunks], axis=1), codes)


def test_payload_is_time_major_then_stream_then_codebook():
    codes = make_codes(3, 4)
    stream = io.BytesIO()
    with Writer(stream, STEREO) as writer:
        writer.append(codes, (2, 1))
    chunk = pieces(stream.getvalue())[1]
    assert chunk[27:-4] == pack_codes(codes.T.ravel().astype(np.uint16), 10)


def test_k_may_change_and_starts_a_new_chunk():
    stream = io.BytesIO()
    blocks = [((2, 1), make_codes(3, 5)), ((2, 1), make_codes(3, 5)), ((0, 0), make_codes(0, 4)), ((4, 0), make_codes(4, 7))]
    with Writer(stream, STEREO, chunk_frames=6) as writer:
        for n_codebooks, codes in blocks:
            writer.append(codes, n_codebooks)
    stream.seek(0)
    chunks = list(Reader(stream))
    assert [(c.n_codebooks, c.n_frames) for c in chunks] == [((2, 1), 6), ((2, 1), 4), ((0, 0), 4), ((4, 0), 6), ((4, 0), 1)]
    mid, side = chunks[0].streams()
    joined = np.hstack([blocks[0][1], blocks[1][1]])
    assert np.array_equal(mid, joined[:2, :6]) and np.array_equal(side, joined[2:, :6])


def test_segments_keep_their_lengths_and_scales():
    segments = [(make_codes(2, 10), 0.5), (make_codes(2, 10), None), (make_codes(2, 3), 1e-8)]
    stream = io.BytesIO()
    with Writer(stream, SEGMENTED) as writer:
        for codes, scale in segments:
            writer.append_segment(codes, scale)
    stream.seek(0)
    reader = Reader(stream)
    for chunk, (codes, scale) in zip(reader, segments, strict=True):
        assert np.array_equal(chunk.codes, codes)
        assert chunk.scale == (None if scale is None else np.float32(scale))
    assert reader.n_samples == 2 * 3000 + 3 * 320


def test_bytes_leave_with_every_chunk_and_nobody_seeks():
    end, start = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    arrived = []

    def read():
        with end:
            arrived.extend(chunk.n_frames for chunk in Reader(end))

    thread = threading.Thread(target=read)
    thread.start()
    with start, Writer(start, make_header(), chunk_frames=10) as writer:
        for _ in range(25):
            writer.append(make_codes(2, 1))
        while len(arrived) < 2:  # the third chunk is not full, and the pipe is still open
            thread.join(0.001)
    thread.join()
    assert arrived == [10, 10, 5]


def test_an_exception_leaves_a_stream_that_is_known_to_be_cut():
    stream = io.BytesIO()
    with pytest.raises(KeyError), Writer(stream, make_header(), chunk_frames=10) as writer:
        writer.append(make_codes(2, 15))
        raise KeyError
    stream.seek(0)
    reader = Reader(stream)
    chunks = reader.chunks()
    assert next(chunks).n_frames == 10
    with pytest.raises(Truncated):
        next(chunks)
    assert reader.trailer is None and reader.n_frames == 10


class FullDisk(io.BytesIO):
    def write(self, data):
        if self.tell() > 200:
            super().write(data[:7])
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_leaves_no_end():
    disk = FullDisk()
    writer = Writer(disk, make_header(), chunk_frames=10)
    with pytest.raises(OSError, match="No space"):
        writer.append(make_codes(2, 1000))
    size = len(disk.getvalue())
    writer.close()
    assert len(disk.getvalue()) == size


class Dribble(io.RawIOBase):
    """A raw file object that takes three bytes at a time."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data[:3]
        return len(data[:3])


def test_short_writes_are_completed():
    stream, codes = Dribble(), make_codes(2, 20)
    with Writer(stream, make_header()) as writer:
        writer.append(codes)
    assert bytes(stream.data) == write(make_header(), codes)


def test_lengths():
    codes = make_codes(1, 10)

    def lengths(header, **given):
        reader = Reader(io.BytesIO(write(header, codes, **given)))
        return reader.n_samples, reader.original_n_samples

    assert lengths(make_header()) == (3200, 5880)
    assert lengths(make_header(pre_skip=4000)) == (0, 0)
    assert lengths(make_header(pre_skip=200)) == (3000, -(-3000 * 441 // 240))
    assert lengths(make_header(), n_samples=3000, original_n_samples=5513) == (3000, 5513)
    assert lengths(make_header(n_samples=3000, original_n_samples=5513)) == (3000, 5513)
    assert lengths(make_header(original_sample_rate=24_000), n_samples=7) == (7, 7)
    for header, given_lengths, message in [
        (make_header(), {"n_samples": 3201}, "at most 3200"),
        (make_header(pre_skip=200), {"n_samples": 3001}, "at most 3000"),
        (make_header(n_samples=3000), {"n_samples": 3001}, "must be 3000"),
        (make_header(original_sample_rate=24_000), {"n_samples": 7, "original_n_samples": 8}, "must be 7"),
    ]:
        with pytest.raises(ValueError, match=message):
            lengths(header, **given_lengths)


@pytest.mark.parametrize(
    ("header", "codes", "n_codebooks", "message"),
    [
        (make_header(), [[0.5]], None, "integers"),
        (make_header(), [1, 2], None, r"\[R, t\]"),
        (make_header(), [[1024]], None, "0 to 1023, got 1024"),
        (make_header(), [[-1]], None, "0 to 1023, got -1"),
        (make_header(), make_codes(17, 1), None, "0 to 16"),
        (make_header(), make_codes(2, 1), (3,), "3 rows"),
        (make_header(), make_codes(2, 1), (1, 1), "for each of 1 streams"),
        (STEREO, make_codes(3, 1), None, "divided evenly"),
        (SEGMENTED, make_codes(2, 1), None, "append_segment"),
    ],
)
def test_what_append_refuses(header, codes, n_codebooks, message):
    writer = Writer(io.BytesIO(), header)
    with pytest.raises(ValueError, match=message):
        writer.append(codes, n_codebooks)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e-60])
def test_what_append_segment_refuses(scale):
    with pytest.raises(ValueError, match="scale"):
        Writer(io.BytesIO(), SEGMENTED).append_segment(make_codes(1, 1), scale)
    with pytest.raises(ValueError, match="at most 10 frames"):
        Writer(io.BytesIO(), SEGMENTED).append_segment(make_codes(1, 11), 1.0)
    with pytest.raises(ValueError, match="use append"):
        Writer(io.BytesIO(), make_header()).append_segment(make_codes(1, 1), 1.0)


def test_nothing_follows_the_end():
    stream = io.BytesIO()
    writer = Writer(stream, make_header())
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append(make_codes(1, 1))
    stream.seek(0)
    assert read_all(stream) == []
    with pytest.raises(ValueError, match="chunk_frames"):
        Writer(stream, make_header(), chunk_frames=0)
