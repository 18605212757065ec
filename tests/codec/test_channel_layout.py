"""Channels to streams and back, and how bitrates are shared."""

import dataclasses

import numpy as np
import pytest
from ecdc.codec.channel_layout import Layout, codebooks_per_stream, layout_for
from ecdc.format import ChannelCoding


@pytest.mark.parametrize("coding", [ChannelCoding.LEFT_RIGHT, ChannelCoding.MID_SIDE])
def test_split_and_join_are_inverse(noise, coding):
    layout = Layout(coding, 2)
    np.testing.assert_allclose(layout.join(layout.split(noise, 1)), noise, atol=1e-6)


def test_mono_and_joint(noise):
    assert Layout(ChannelCoding.MONO, 1).split(noise[:1], 1).shape == (1, 1, noise.shape[1])
    joint = Layout(ChannelCoding.JOINT, 2).split(noise, 2)
    np.testing.assert_array_equal(joint[0], noise)
    one = Layout(ChannelCoding.JOINT, 1)
    np.testing.assert_array_equal(one.split(noise[:1], 2)[0], noise[[0, 0]])
    np.testing.assert_allclose(one.join(noise[None]), noise.mean(0, keepdims=True))


@pytest.mark.parametrize("kbps", [0.9, 1.3, 1.8, 2.7, 3.6, 50])
@pytest.mark.parametrize("stereo", ["mid_side", "left_right"])
def test_file_rate_is_never_above_what_was_asked(codec, kbps, stereo):
    ks = codebooks_per_stream(codec.config, layout_for(codec.config, 2, stereo), kbps)
    assert all(1 <= k <= codec.config.n_codebooks for k in ks)
    assert sum(ks) * float(codec.config.kbps_per_codebook) <= kbps + 1e-9
    assert ks[0] >= ks[1]


def test_rates_use_all_that_was_asked(codec):
    config = codec.config
    assert codebooks_per_stream(config, layout_for(config, 1), 1.8) == (4,)
    assert codebooks_per_stream(config, layout_for(config, 2), 1.8) == (3, 1)
    assert codebooks_per_stream(config, layout_for(config, 2), 3.6) == (4, 4)


def test_too_little_is_refused_with_the_legal_rates(codec):
    with pytest.raises(ValueError, match=r"in stereo starts at 0.9 kbps, got 0.5 \(legal: 0.9, 1.8, 2.7, 3.6\)"):
        codebooks_per_stream(codec.config, layout_for(codec.config, 2), 0.5)


def test_more_than_two_channels_are_refused(codec):
    with pytest.raises(ValueError, match=r"6 channels.*--channels"):
        layout_for(codec.config, 6)


def test_few_trained_rates_stay_few(codec):
    config = dataclasses.replace(codec.config, bitrates_kbps=(0.9, 1.8))
    assert codebooks_per_stream(config, layout_for(config, 2), 3.0) == (2, 2)
