"""The yardstick itself: on the bundled clips, metrics rank what is known to be better and worse (minutes)."""

import shutil

import pytest
from ecdc.bench import corpus, report
from ecdc.bench.codecs import parse
from ecdc.bench.metrics import ALL, metric
from ecdc.bench.runner import Plan, run

WIDE = ("visqol", "zimtohrli", "mel", "stft")  # they hear what is missing above 3.5 kHz


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    if shutil.which("opusenc") is None:
        pytest.skip("opusenc not found (Debian package opus-tools)")
    coders = [coder for text in ("opus:6,12,24", "anchors") for coder in parse(text)]
    plan = Plan(list(corpus.bundled(24_000)), coders, ALL, 0)
    rows = run(plan, tmp_path_factory.mktemp("sanity"), 2, False, lambda row: None)
    found = {line["codec"]: line for line in report.summarize(rows, ALL)}
    keys = [key for key in ALL if found["PCM"][key]]
    assert set(WIDE) <= set(keys)
    signs = {key: 1 if metric(key).HIGHER_IS_BETTER else -1 for key in keys}
    return {key: {name: sign * line[key][0] for name, line in found.items()} for key, sign in signs.items()}


@pytest.mark.slow
def test_more_bits_of_opus_are_better_in_every_metric(means):
    for key, scores in means.items():
        assert scores["Opus 6"] < scores["Opus 12"] < scores["Opus 24"], key


@pytest.mark.slow
def test_the_reference_is_on_top_and_noise_at_the_bottom(means):
    for key, scores in means.items():
        assert max(scores.values()) == scores["PCM"] and min(scores.values()) == scores["noise"], key


@pytest.mark.slow
def test_a_narrow_band_is_worse_than_a_codec_that_keeps_the_band(means):
    for key in WIDE:
        assert means[key]["low-pass 3.5 kHz"] < min(means[key][name] for name in ("Opus 12", "Opus 24", "low-pass 7 kHz")), key
