"""Metrics order signals as ears do, and say why where they have no value."""

import importlib.util

import numpy as np
import pytest
from ecdc.bench.metrics import ALL, Undefined, mel, metric, score, si_sdr, stft

RATE = 24_000
LIBRARY = {"pesq": "pesq", "stoi": "pystoi", "visqol": "visqol", "visqol_speech": "ai_edge_litert", "zimtohrli": "zimtohrli"}


def available(key):
    return key not in LIBRARY or importlib.util.find_spec(LIBRARY[key]) is not None


METRICS = [pytest.param(key, marks=pytest.mark.skipif(not available(key), reason=metric(key).NEEDS)) for key in ALL]


@pytest.mark.parametrize("key", METRICS)
def test_more_noise_is_worse(key, speech):
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    speech, noise = speech[:RATE], noise[:RATE]  # ViSQOL takes seconds for each of them
    copies = [speech] + [speech + level * noise for level in (3e-5, 3e-4, 3e-3, 3e-2)]
    found = [score(key, speech, copy, RATE, "speech") for copy in copies]
    assert all(why == "" for _, why in found), found
    scores = [value for value, _ in found]
    assert scores == sorted(scores, reverse=metric(key).HIGHER_IS_BETTER) and len(set(scores)) == 5


@pytest.mark.parametrize("key", ALL)
def test_every_metric_says_what_it_is(key):
    m = metric(key)
    assert m.NAME and m.BAND and m.NEEDS and m.__doc__
    assert all(isinstance(flag, bool) for flag in (m.HIGHER_IS_BETTER, m.SPEECH_ONLY, m.QUICK))


@pytest.mark.parametrize("key", ALL)
@pytest.mark.parametrize(
    ("signal", "why"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.ones(1, np.float32), "shorter"),
        (np.full(RATE, np.nan, np.float32), "finite"),
        (np.zeros(0, np.float32), "shorter"),
    ],
    ids=["silent", "one sample", "NaN", "empty"],
)
def test_undefined_scores_have_a_reason(key, signal, why):
    value, reason = score(key, signal, signal, RATE, "speech")
    assert value is None and why in reason


def test_speech_metrics_leave_music_alone(music):
    assert score("stoi", music, music, RATE, "music") == (None, "for speech only")


def test_a_metric_without_its_library_says_what_to_install(monkeypatch, speech):
    def fail(*_):
        raise ImportError("no module")

    monkeypatch.setattr(metric("zimtohrli"), "measure", fail)
    assert score("zimtohrli", speech, speech, RATE, "speech") == (None, "needs the PyPI package zimtohrli")


@pytest.mark.parametrize("module", [mel, stft])
def test_distances_are_zero_for_a_copy_and_symmetric(module, speech):
    other = np.roll(speech, 500)
    assert module.measure(speech, speech, RATE) == 0
    assert module.measure(speech, other, RATE) == pytest.approx(module.measure(other, speech, RATE), rel=1e-6)


def test_distances_of_a_changed_level_are_known(speech):
    """Twice the amplitude is log10 2 in every bin above the floor, in each of seven windows; its square, in each of two."""
    loud = speech + 0.1 * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)  # no bin near the floor
    assert mel.measure(loud, 2 * loud, RATE) == pytest.approx(7 * np.log10(2), rel=1e-3)
    linear = sum(float(stft.magnitudes(loud, n).mean()) for n in stft.WINDOWS)
    assert stft.measure(loud, 2 * loud, RATE) == pytest.approx(2 * np.log10(4) + linear, rel=1e-3)


def test_si_sdr_ignores_gain_and_offset_and_has_a_known_value(speech):
    noise = np.random.default_rng(0).standard_normal(len(speech))
    target = speech - speech.mean(dtype=np.float64)
    noise -= noise.mean() + (noise @ target) / (target @ target) * target
    noisy = target + noise * np.sqrt((target @ target) / (noise @ noise)) * 10 ** (-12 / 20)
    assert si_sdr.measure(speech, noisy, RATE) == pytest.approx(12, abs=0.01)
    assert si_sdr.measure(speech, 0.25 * noisy + 0.1, RATE) == pytest.approx(12, abs=0.01)
    assert si_sdr.measure(speech, speech, RATE) == si_sdr.MAX_DB
    with pytest.raises(Undefined, match="nothing of the reference"):
        si_sdr.measure(speech, np.zeros_like(speech), RATE)
