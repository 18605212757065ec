"""The delay pattern: where each code stands, and that nothing is lost."""

import pytest
import torch
from ecdc.plugins.musicgen import DelayPattern
from hypothesis import given
from hypothesis import strategies as st

MONO, STEREO, PARALLEL = (0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3), (0, 0, 0, 0)
SPECIAL = 99
delays = st.lists(st.integers(0, 6), min_size=1, max_size=6).map(lambda d: tuple(sorted(d)))


def frames(pattern, n_frames):
    """Codes that name their frame: [1, K, T]."""
    return torch.arange(n_frames).expand(1, pattern.n_codebooks, -1).clone()


def test_the_published_pattern():
    pattern = DelayPattern(MONO, SPECIAL)
    s = SPECIAL
    expected = [[s, 0, 1, 2, s, s, s], [s, s, 0, 1, 2, s, s], [s, s, s, 0, 1, 2, s], [s, s, s, s, 0, 1, 2]]
    assert pattern.spread(frames(pattern, 3))[0].tolist() == expected


def test_stereo_delays_both_channels_alike():
    columns = DelayPattern(STEREO, SPECIAL).spread(frames(DelayPattern(STEREO, SPECIAL), 5))[0]
    assert torch.equal(columns[0::2], columns[1::2])
    assert torch.equal(columns[0::2], DelayPattern(MONO, SPECIAL).spread(frames(DelayPattern(MONO, SPECIAL), 5))[0])


def test_parallel_has_one_column_per_frame_after_the_first():
    pattern = DelayPattern(PARALLEL, SPECIAL)
    assert torch.equal(pattern.spread(frames(pattern, 4))[..., 1:], frames(pattern, 4))


@given(delays, st.integers(0, 9))
def test_gathering_undoes_spreading(delays, n_frames):
    pattern = DelayPattern(delays, SPECIAL)
    codes = frames(pattern, n_frames)
    columns = pattern.spread(codes)
    assert torch.equal(pattern.gather(columns), codes)
    assert int((columns != SPECIAL).sum()) == codes.numel()


@given(delays, st.integers(1, 9), st.data())
def test_a_frame_is_finished_when_its_last_code_is_there(delays, n_frames, data):
    pattern = DelayPattern(delays, SPECIAL)
    columns = pattern.spread(frames(pattern, n_frames))
    n_columns = data.draw(st.integers(0, columns.shape[2]))
    held = [int((columns[0, :, :n_columns] == t).sum()) == pattern.n_codebooks for t in range(n_frames)]
    assert pattern.n_finished(n_columns) == sum(held)


@given(delays, st.integers(1, 9), st.data())
def test_generation_begins_at_the_first_column_of_the_first_unknown_frame(delays, n_frames, data):
    pattern = DelayPattern(delays, SPECIAL)
    known = data.draw(st.integers(0, n_frames - 1))
    columns = pattern.spread(frames(pattern, n_frames))[0]
    assert pattern.first_column(known) == min(int(row.tolist().index(known)) for row in columns)


def test_delays_that_do_not_ascend_are_refused():
    for bad in ((1, 0), (-1, 0), ()):
        with pytest.raises(ValueError, match="ascend"):
            DelayPattern(bad, SPECIAL)
    with pytest.raises(ValueError, match=r"\[B, 4, T\]"):
        DelayPattern(MONO, SPECIAL).spread(torch.zeros(1, 3, 5, dtype=torch.int64))
