from fractions import Fraction

from ecdc.format import timing
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 2**48), st.integers(1, 2**24))
def test_frames_cover_the_samples_and_no_frame_is_idle(n_samples, hop_length):
    n_frames = timing.frames_for(n_samples, hop_length)
    assert n_frames * hop_length >= n_samples > (n_frames - 1) * hop_length


def test_frame_counts_where_floats_go_wrong():
    for n_samples in (6720, 13440, 16320, 26880):
        assert timing.frames_for(n_samples, 320) == n_samples // 320


@given(st.integers(2, 65_536))
def test_code_bits_are_just_enough(codebook_size):
    bits = timing.code_bits(codebook_size)
    assert 2 ** (bits - 1) < codebook_size <= 2**bits


@given(st.integers(0, 2**48), st.integers(1, 2**24), st.integers(1, 2**24))
def test_resampling_there_and_back_loses_nothing_when_going_up(n_samples, rate, more):
    up = timing.resampled_length(n_samples, rate, rate + more)
    assert timing.seconds(up, rate + more) >= timing.seconds(n_samples, rate)
    assert timing.resampled_length(n_samples, rate, rate) == n_samples


@given(st.integers(0, 5000), st.integers(1, 500), st.integers(1, 500))
def test_segments_start_at_every_stride_and_leave_no_gap(n_samples, stride, overlap):
    length = stride + overlap - 1
    spans = list(timing.segment_spans(n_samples, length, stride))
    assert [start for start, _ in spans] == list(range(0, n_samples, stride))
    assert all(stop == min(start + length, n_samples) for start, stop in spans)


def test_known_segments():
    def frames(n_samples):
        return [timing.frames_for(b - a, 320) for a, b in timing.segment_spans(n_samples, 48_000, 47_520)]

    assert frames(48_000) == [150, 2]
    assert frames(47_521) == [149, 1]
    assert frames(100_000) == [150, 150, 16]
    assert list(timing.segment_spans(1000, 0, 0)) == [(0, 1000)]
    assert list(timing.segment_spans(0, 0, 0)) == []


def test_rates():
    assert timing.frame_rate(24_000, 320) == 75
    assert timing.nominal_kbps(Fraction(75), 8, 10) == 6
    assert timing.kbps(750, timing.seconds(24_000, 24_000)) == 6
    assert timing.packed_bytes(3, 10) == 4
