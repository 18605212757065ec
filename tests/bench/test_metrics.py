"""Metrics order signals as ears do, and tables count what is on disk."""

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from ecdc.bench import demo, quality
from ecdc.bench.baselines import fit_length
from ecdc.bench.metrics import mel, si_sdr

RATE = 24_000


@pytest.fixture(scope="module")
def clip():
    return demo.mono_at(demo.CLIPS / "speech_it.flac", RATE)[: 2 * RATE]


@pytest.mark.parametrize("metric", [mel, si_sdr])
def test_more_noise_is_worse(metric, clip):
    noise = np.random.default_rng(0).standard_normal(len(clip)).astype(np.float32)
    scores = [metric.measure(clip, clip + level * noise, RATE) for level in (1e-4, 1e-3, 1e-2, 1e-1)]
    assert scores == sorted(scores, reverse=metric.HIGHER_IS_BETTER) and len(set(scores)) == 4


def test_mel_distance_of_a_signal_to_itself_is_zero_and_symmetric(clip):
    other = np.roll(clip, 500)
    assert mel.measure(clip, clip, RATE) == 0
    assert mel.measure(clip, other, RATE) == pytest.approx(mel.measure(other, clip, RATE), rel=1e-6)


def test_si_sdr_ignores_gain_and_offset(clip):
    noisy = clip + 0.01 * np.random.default_rng(0).standard_normal(len(clip)).astype(np.float32)
    wanted = si_sdr.measure(clip, noisy, RATE)
    assert si_sdr.measure(clip, 0.25 * noisy + 0.1, RATE) == pytest.approx(wanted, abs=0.01)


def test_lengths_are_fitted():
    assert fit_length(np.ones(3), 5).tolist() == [1, 1, 1, 0, 0] and fit_length(np.ones(5), 3).tolist() == [1, 1, 1]


def test_interval_shrinks_with_more_clips():
    values = np.random.default_rng(0).standard_normal(400)
    assert quality.interval(values[:20]) > quality.interval(values) > 0


def test_rows_count_the_bytes_of_the_file(codec, clip):
    (row,) = quality.measure({"a": clip}, [quality.Ours(codec, 0.9)], {"mel": mel}, report=lambda line: None)
    assert row["codec"] == "random-24k 0.9" and row["mel"] > 0
    assert row["kbps"] > 0.9 and row["kbps"] * 2 / 8 * 1000 == pytest.approx(round(row["kbps"] * 2 / 8 * 1000))


def test_demo_leaves_files_and_a_picture(tmp_path):
    result = CliRunner().invoke(demo.main, ["--output", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    for clip in demo.CLIPS.glob("*.flac"):
        info, decoded = soundfile.info(clip), soundfile.info(tmp_path / "demo" / f"{clip.stem}.wav")
        assert (decoded.frames, decoded.samplerate, decoded.channels) == (info.frames, info.samplerate, info.channels)
        n_bytes = (tmp_path / "demo" / f"{clip.stem}.ecdc").stat().st_size
        assert f"| {clip.stem} | {info.frames / info.samplerate:.2f} | {info.channels} | {n_bytes} |" in result.output
    assert (tmp_path / "demo" / "spectrograms.png").read_bytes().startswith(b"\x89PNG")
