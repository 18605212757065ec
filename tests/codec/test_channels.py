"""Channels fold by ITU-R BS.775, whatever the layout, and never clip."""

import numpy as np
import pytest
import soundfile
from ecdc.codec.audio import AudioSource, fold_channels
from ecdc.codec.channels import MASK, USUAL, WEIGHTS, fold_matrix, speakers_of

C = 0.5**0.5
SIDE = 1 + C + C  # what the weights of a side of 5.1 add up to


def test_five_point_one_is_folded_as_the_standard_says():
    wanted = [[1, 0, C, 0, C, 0], [0, 1, C, 0, 0, C]]
    np.testing.assert_allclose(fold_matrix(USUAL[6], 6, 2), np.array(wanted) / SIDE, rtol=1e-6)
    mono = np.array([1, 1, 2 * C, 0, C, C])
    np.testing.assert_allclose(fold_matrix(USUAL[6], 6, 1), mono[None] / mono.sum(), rtol=1e-6)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5, 6, 7, 8, 16, 1024])
@pytest.mark.parametrize("channels", [1, 2])
def test_full_scale_does_not_clip_and_every_speaker_is_heard(n_channels, channels):
    ones = np.ones((n_channels, 3), np.float32)
    folded = fold_channels(ones, channels)
    assert folded.shape == (channels, 3)
    np.testing.assert_allclose(folded.max(), 1, rtol=1e-5)
    for i in range(n_channels):
        one = np.zeros_like(ones)
        one[i] = 1
        is_low = i == 3 and n_channels in (6, 7, 8)
        assert (fold_channels(one, channels).max() > 0) != is_low


def test_left_stays_left():
    for name, (left, right) in WEIGHTS.items():
        side = {"FLC": 1, "FRC": -1}.get(name, {"L": 1, "R": -1}.get(name[-1], 0))
        assert np.sign(left - right) == side, name


def test_the_mask_of_a_wav_names_its_speakers(tmp_path):
    assert speakers_of(0x3F, 6) == MASK[:6] and speakers_of(0x3F, 5) == () and speakers_of(0, 2) == ()
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 6)), 48_000, format="WAVEX")
    with AudioSource(tmp_path / "a.wav") as audio:
        assert audio.info.speakers in ((), USUAL[6])
