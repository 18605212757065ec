"""Editing keeps codes as they are: peeled == encoded with fewer, parts join to the whole, tags change nothing else."""

import io
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from ecdc.format import ChannelCoding, Header, Reader, Truncated, Writer, WrongModel, edit

HOP, RATE = 320, 24_000


def header(coding=ChannelCoding.MONO, **fields):
    values = {
        "codec": "demo",
        "token_space": bytes(range(32)),
        "sample_rate": RATE,
        "hop_length": HOP,
        "codebook_size": 1024,
        "max_codebooks": 16,
        "original_sample_rate": RATE,
        "channels": 1 if coding is ChannelCoding.MONO else 2,
        "channel_coding": coding,
    }
    return Header(**(values | fields))


def codes_of(n_frames, n_codebooks, seed=0):
    return np.random.default_rng(seed).integers(0, 1024, (n_codebooks, n_frames), dtype=np.uint16)


def written(head, codes, ks, n_samples=None, scale=None):
    stream = io.BytesIO()
    with Writer(stream, head) as writer:
        if head.segment_length:
            for start in range(0, codes.shape[1], head.segment_frames):
                writer.append_segment(codes[:, start : start + head.segment_frames], scale, ks)
        else:
            writer.append(codes, ks)
        writer.close(n_samples, n_samples)
    return stream.getvalue()


def edited(function, data, *args):
    out = io.BytesIO()
    function(Reader(io.BytesIO(data)) if isinstance(data, bytes) else data, out, *args)
    return out.getvalue()


class Pipe(io.RawIOBase):
    """Bytes that can only be read forwards."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._data.read(min(size, 1000))


STREAMS = [
    (ChannelCoding.MONO, (8,), (3,)),
    (ChannelCoding.MID_SIDE, (6, 2), (3, 1)),
    (ChannelCoding.LEFT_RIGHT, (4, 4), (2, 2)),
]


@pytest.mark.parametrize("coding, ks, fewer", STREAMS)
def test_peeled_equals_encoded_with_fewer(coding, ks, fewer):
    codes = codes_of(1000, sum(ks))
    first, *second = np.split(codes, [ks[0]]) if len(ks) > 1 else (codes,)
    kept = np.concatenate([rows[:k] for rows, k in zip([first, *second], fewer, strict=True)])
    wanted = written(header(coding), kept, fewer, 319_777)
    data = written(header(coding), codes, ks, 319_777)
    assert edited(edit.peel, data, fewer) == wanted
    assert edited(edit.peel, Reader(Pipe(data)), fewer) == wanted
    assert edited(edit.peel, data, (16,) * len(ks)) == data


@pytest.mark.parametrize(
    ("coding", "ks", "kbps", "fewer"),
    [
        (ChannelCoding.MONO, (16,), 6, (8,)),
        (ChannelCoding.MONO, (16,), 6.7, (8,)),
        (ChannelCoding.MONO, (16,), 100, (16,)),
        (ChannelCoding.MID_SIDE, (9, 3), 6, (6, 2)),
        (ChannelCoding.MID_SIDE, (16, 16), 15, (15, 5)),
        (ChannelCoding.MID_SIDE, (3, 1), 6, (3, 1)),
        (ChannelCoding.MID_SIDE, (11, 1), 6, (7, 1)),  # a narrow side stays narrow
        (ChannelCoding.MID_SIDE, (16, 3), 12.75, (16, 1)),
        (ChannelCoding.MID_SIDE, (2, 5), 3, (2, 1)),  # no share of the encoder
        (ChannelCoding.MID_SIDE, (2, 0), 3, (2, 0)),  # the side was lost
        (ChannelCoding.LEFT_RIGHT, (6, 6), 6.7, (4, 4)),
    ],
)
def test_bitrates_are_shared_as_the_encoder_shares_them(coding, ks, kbps, fewer):
    codes = codes_of(100, sum(ks))
    streams = np.split(codes, np.cumsum(ks)[:-1])
    kept = np.concatenate([rows[:k] for rows, k in zip(streams, fewer, strict=True)])
    assert edited(edit.peel_to, written(header(coding), codes, ks), kbps) == written(header(coding), kept, fewer)


def test_bitrates_below_the_lowest_are_refused():
    with pytest.raises(ValueError, match=r"lowest bitrate of this file is 1\.5 kbps, got 1\.4"):
        edit.codebooks_within(header(ChannelCoding.MID_SIDE), 1.4)


@pytest.mark.parametrize("start, duration", [("0", "1"), ("1.5", "2"), ("7.77", "3.3"), ("12", None), ("3.21", "0.0001")])
def test_a_cut_holds_the_codes_of_its_span(start, duration):
    codes, n = codes_of(1000, 4), 319_777
    start, duration = Fraction(start), None if duration is None else Fraction(duration)
    reader = Reader(io.BytesIO(edited(edit.cut, written(header(), codes, (4,), n), start, duration)))
    begin = round(start * RATE)
    end = n if duration is None else min(n, round((start + duration) * RATE))
    assert reader.n_samples == reader.original_n_samples == end - begin
    origin = begin - reader.header.pre_skip  # where the first frame that was kept stands
    assert origin % HOP == 0 and (origin == 0 or reader.header.pre_skip >= 2 * RATE)
    first = origin // HOP
    assert np.array_equal(reader.codes(), codes[:, first : first + reader.n_frames])
    assert list(reader) and (first + reader.n_frames) * HOP >= end


def test_a_cut_of_segments_begins_with_the_one_that_overlaps():
    head = header(segment_length=640, segment_stride=480)
    codes = codes_of(100, 4)  # 50 segments of 2 frames, the last ends at 49 * 480 + 640
    data = written(head, codes, (4,), 24_160, scale=0.5)
    reader = Reader(io.BytesIO(edited(edit.cut, data, Fraction(10_000, RATE), Fraction(1000, RATE))))
    first = 10_000 // 480 - 2
    assert reader.header.pre_skip == 10_000 - first * 480 and reader.n_samples == 1000
    chunks = list(reader)
    assert np.array_equal(chunks[0].codes, codes[:, 2 * first : 2 * first + 2]) and chunks[0].scale == 0.5
    assert (first + len(chunks) - 1) * 480 + 640 >= 11_000


def test_cuts_outside_are_refused():
    data = written(header(), codes_of(10, 4), (4,), 3000)
    for start, duration in [("0.125", None), ("9", "1")]:
        with pytest.raises(ValueError, match=r"lasts 0\.125 s"):
            edited(edit.cut, data, Fraction(start), duration and Fraction(duration))
    with pytest.raises(ValueError, match="the duration must be above 0, got 0 s"):
        edited(edit.cut, data, Fraction(0), Fraction(0))


@pytest.mark.parametrize("start, duration", [("0", None), ("1", "99"), ("12", "1"), ("99", None)])
def test_a_cut_beyond_the_whole_chunks_of_a_file_that_was_cut_off_says_so(start, duration):
    """Not that the audio ends there, and no shorter part either."""
    data = written(header(), codes_of(1000, 4), (4,))
    reader = Reader(io.BytesIO(data[: int(Reader(io.BytesIO(data)).index.offsets[-1]) - 1]))
    here, out = reader.n_frames * HOP / RATE, io.BytesIO()
    with pytest.raises(Truncated, match=rf"the file was cut off; only its first {here:.3f} s are here"):
        edit.cut(reader, out, Fraction(start), duration and Fraction(duration))
    assert not out.getvalue()
    edit.cut(reader, out, Fraction(0), Fraction(1))
    assert Reader(io.BytesIO(out.getvalue())).n_samples == RATE


def test_joined_streams_are_theirs_in_whole_frames():
    parts = [codes_of(n, 4, seed=n) for n in (100, 1, 777)]
    lengths = [100 * HOP - 5, 3, 777 * HOP - 319]
    data = [written(header(), codes, (4,), n) for codes, n in zip(parts, lengths, strict=True)]
    for source in (io.BytesIO, Pipe):
        out = io.BytesIO()
        edit.cat([Reader(source(d)) for d in data], out)
        reader = Reader(io.BytesIO(out.getvalue()))
        assert np.array_equal(reader.codes(), np.concatenate(parts, axis=1))
        assert reader.n_samples == 101 * HOP + lengths[2]


def test_a_cut_of_a_pipe_is_that_of_a_file():
    segmented = header(segment_length=640, segment_stride=480)
    for head, data in [
        (header(), written(header(), codes_of(1000, 4), (4,), 319_777)),
        (segmented, written(segmented, codes_of(1000, 4), (4,), 239_900, scale=0.5)),
    ]:
        n = Reader(io.BytesIO(data)).n_samples
        starts = ["0", "1.5", "7.77"]
        for start, duration in [(a, b) for a in starts for b in ("1", "2.22", None, Fraction(n, RATE) - Fraction(a), "99")]:
            span = Fraction(start), None if duration is None else Fraction(duration)
            of_file, of_pipe = (Reader(io.BytesIO(edited(edit.cut, source, *span))) for source in (data, Reader(Pipe(data))))
            assert of_pipe.n_samples == of_file.n_samples and of_pipe.header.pre_skip == of_file.header.pre_skip
            chunks = list(of_pipe)
            # What is known of the end on a pipe may come a frame later than in a file.
            n_frames = min(of_file.n_frames, of_pipe.n_frames)
            assert abs(of_file.n_frames - of_pipe.n_frames) <= (0 if head.segment_length else 1) and chunks
            assert np.array_equal(of_pipe.codes(0, n_frames), of_file.codes(0, n_frames))
        with pytest.raises(ValueError, match="there is no audio at"):
            edited(edit.cut, Reader(Pipe(data)), Fraction(n, RATE))


def test_cuts_join_to_the_whole():
    codes, n = codes_of(1000, 4), 319_777
    data = written(header(), codes, (4,), n)
    borders = [Fraction(0), Fraction(4), Fraction(8), None]  # at whole frames
    cuts = [edited(edit.cut, data, a, b and b - a) for a, b in pairwise(borders)]
    out = io.BytesIO()
    edit.cat([Reader(io.BytesIO(c)) for c in cuts], out)
    reader = Reader(io.BytesIO(out.getvalue()))
    assert np.array_equal(reader.codes(), codes) and reader.n_samples == n


def test_unlike_streams_are_not_joined():
    one = written(header(), codes_of(10, 4), (4,))
    other = written(header(token_space=bytes(32)), codes_of(10, 4), (4,))
    with pytest.raises(WrongModel) as caught:
        edit.cat([Reader(io.BytesIO(one)), Reader(io.BytesIO(other))], io.BytesIO())
    assert bytes(32).hex() in str(caught.value) and bytes(range(32)).hex() in str(caught.value)
    stereo = written(header(ChannelCoding.LEFT_RIGHT), codes_of(10, 4), (2, 2))
    with pytest.raises(ValueError, match="differs from the first file in channels: 2, not 1"):
        edit.cat([Reader(io.BytesIO(one)), Reader(io.BytesIO(stereo))], io.BytesIO())


def test_tags_change_and_nothing_else():
    data = written(header(tags=(("title", "old"),)), codes_of(500, 4), (4,), 159_999)
    new = edited(edit.retag, data, [("title", "new"), ("artist", "é")])
    one, two = Reader(io.BytesIO(data)), Reader(io.BytesIO(new))
    assert two.header.tags == (("title", "new"), ("artist", "é"))
    assert np.array_equal(one.codes(), two.codes()) and one.n_samples == two.n_samples
    assert edited(edit.retag, new, [("title", "old")]) == data


@pytest.mark.parametrize("function, args", [(edit.peel, ((2,),)), (edit.retag, ([],))])
def test_cut_off_input_gives_no_whole_output(function, args):
    data = written(header(), codes_of(1000, 4), (4,))
    out = io.BytesIO()
    with pytest.raises(Truncated):
        function(Reader(io.BytesIO(data[:-9])), out, *args)
    assert Reader(io.BytesIO(out.getvalue())).trailer is None
