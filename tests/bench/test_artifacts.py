"""Artifacts are found where they were put, as large as they are, and nowhere else."""

import numpy as np
import pytest
from ecdc.bench import artifacts
from ecdc.bench.codecs import parse
from ecdc.bench.metrics import Undefined

RATE = 24_000
TIME = np.arange(4 * RATE) / RATE


def noise(seed=0, seconds=4):
    return 0.1 * np.random.default_rng(seed).standard_normal(seconds * RATE)


@pytest.mark.parametrize("frame_rate", [50, 75])
@pytest.mark.parametrize("depth", [0.1, 0.3, 0.8])
def test_hum_grows_with_the_depth_of_the_pulse(depth, frame_rate):
    plain = artifacts.hum_db(noise(), RATE, frame_rate)
    pulsing = artifacts.hum_db(noise() * (1 + depth * np.sin(2 * np.pi * frame_rate * TIME)), RATE, frame_rate)
    assert abs(plain) < 2 and pulsing > plain + 20 * depth
    other = artifacts.hum_db(noise() * (1 + depth * np.sin(2 * np.pi * 60 * TIME)), RATE, frame_rate)
    assert abs(other) < 2  # a pulse at another rate is the sound's own


def test_too_short_for_hum():
    with pytest.raises(Undefined, match="shorter than two seconds"):
        artifacts.hum_db(noise(seconds=1), RATE)


@pytest.mark.parametrize("frame_rate", [50, 75])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_buzz_is_what_repeats_in_every_frame(share, frame_rate):
    hop = RATE // frame_rate
    n_frames = 4 * frame_rate
    repeated = np.tile(noise(seed=1)[:hop], n_frames)
    mixed = np.sqrt(1 - share) * noise() + np.sqrt(share) * repeated
    assert abs(artifacts.buzz_db(noise(), RATE, frame_rate)) < 1
    assert artifacts.buzz_db(mixed, RATE, frame_rate) == pytest.approx(10 * np.log10(share * n_frames + 1 - share), abs=1.5)
    other = np.sqrt(1 - share) * noise() + np.sqrt(share) * np.tile(noise(seed=1)[: hop + 7], n_frames)[: 4 * RATE]
    assert artifacts.buzz_db(other, RATE, frame_rate) < 2  # a pattern at another rate is the sound's own
    with pytest.raises(Undefined, match="50 frames"):
        artifacts.buzz_db(np.zeros(4 * RATE), RATE, frame_rate)


def drum(level_before):
    """Hits every half second, with a whisper of noise in the 10 ms before each."""
    audio = np.zeros(2 * RATE)
    rng = np.random.default_rng(0)
    for start in range(RATE // 4, len(audio), RATE // 2):
        audio[start - 240 : start] = level_before * rng.standard_normal(240)
        audio[start : start + 2400] = 0.3 * rng.standard_normal(2400) * np.exp(-np.arange(2400) / 600)
    return audio


@pytest.mark.parametrize("db", [10, 20])
def test_pre_echo_is_as_loud_as_it_is(db):
    quiet, loud = drum(1e-3), drum(1e-3 * 10 ** (db / 20))
    assert artifacts.pre_echo_db(quiet, quiet, RATE) == pytest.approx(0)
    assert artifacts.pre_echo_db(quiet, loud, RATE) == pytest.approx(db, abs=1.5)
    with pytest.raises(Undefined, match="no attack"):
        artifacts.pre_echo_db(noise(), noise(), RATE)


@pytest.mark.parametrize(("place", "hop"), [(0, 320), (160, 320), (319, 320), (300, 480)])
def test_clicks_are_found_wherever_in_a_frame(place, hop):
    tone = 0.3 * np.sin(2 * np.pi * 440 * TIME) + 0.01 * noise()
    clicking = tone.copy()
    clicking[place::hop] += 0.01
    assert artifacts.clicks_db(tone, hop) < 1.5 and artifacts.clicks_db(clicking, hop) > 5
    other = tone.copy()
    other[place::347] += 0.01  # clicks that no frame explains
    assert artifacts.clicks_db(other, hop) < 1.5


def test_silence_and_its_loudest_part():
    audio = np.r_[noise(seconds=1), np.zeros(RATE)]
    assert artifacts.silence_dbfs(audio, RATE) == -120
    audio[RATE + 12_000 : RATE + 12_480] = 0.001
    assert artifacts.silence_dbfs(audio, RATE) == pytest.approx(-60, abs=0.1)


def test_a_lost_high_band():
    high = np.fft.irfft(np.fft.rfft(noise()) * (np.fft.rfftfreq(4 * RATE, 1 / RATE) > 8000))
    assert artifacts.high_band_db(noise(), noise() - 0.5 * high, RATE) == pytest.approx(-6, abs=0.5)
    with pytest.raises(Undefined, match="nothing above"):
        artifacts.high_band_db(np.sin(2 * np.pi * 440 * TIME), noise(), RATE)


def test_a_copy_has_none_of_them():
    audio = np.r_[drum(1e-3), noise(seconds=2), np.zeros(RATE)].astype(np.float32)
    found = artifacts.measure(audio, audio, RATE)
    assert list(found) == list(artifacts.NAMES) and found["silence (dBFS)"] == -120
    assert all(value == 0 for name, value in found.items() if "silence" not in name)


def test_every_codec_is_measured_at_its_own_frame_rate():
    wanted = {"nano-24k": [75], "nano-48k": [50], "opus": [50]}
    rates = {name: [artifacts.frame_rate_of(coder) for coder in parse(f"{name}:6")] for name in wanted}
    assert rates == wanted


def test_a_table_has_the_figures_that_were_measured():
    """Results that are older than a figure stay readable."""
    first, second, *_ = artifacts.NAMES
    lines = artifacts.markdown([{"codec": "one", first: 1.5}, {"codec": "two", first: None}]).splitlines()
    assert lines == [f"| codec | {first} |", "|---|---|", "| one | 1.5 |", "| two | - |"]
    assert second in artifacts.markdown([{"codec": "one", first: 1.5}, {"codec": "two", second: 2.0}])
