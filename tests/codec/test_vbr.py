"""Variable bitrate: the budget is met, the cheapest path is found, what is written is a prefix of the full codes."""

import itertools

import ecdc
import numpy as np
import pytest
import soundfile
from ecdc.codec import codebook_allocation as allocation
from ecdc.codec.pipeline import BLOCK_FRAMES, decode_file, encode_file
from ecdc.codec.vbr import Target, regroup_windows
from ecdc.format import Reader
from seanet_models import small_codec

CHOICE = allocation.LevelCosts(((1,), (2,), (4,)), np.array([10.0, 20.0, 40.0]), head_bits=100.0, chunk_frames=60)


@pytest.mark.parametrize("price", [1e-4, 1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("before", [None, 1])
def test_no_path_is_cheaper(price, before):
    generator = np.random.default_rng(0)
    frames = np.array([20, 30, 20, 10])
    distances = np.sort(generator.uniform(0, 5, (4, 3)), axis=1)[:, ::-1]

    def cost(path):
        changes = np.diff([-1 if before is None else before, *path]) != 0
        bits = sum((CHOICE.bits_per_frame[level] + 100 / 60) * n for level, n in zip(path, frames, strict=True))
        return price * (bits + 100 * changes.sum()) + (distances[range(4), path] * frames).sum()

    found = allocation.cheapest_path(distances, frames, CHOICE, price, before)
    assert cost(found) == pytest.approx(min(cost(path) for path in itertools.product(range(3), repeat=4)))


@pytest.mark.parametrize("budget", [1000, 1600, 2500, 3300, 9999])
def test_budgets_are_kept_and_more_bits_never_hurt(budget):
    distances = np.sort(np.random.default_rng(1).uniform(0, 5, (4, 3)), axis=1)[:, ::-1]
    frames = np.array([20, 30, 20, 10])
    path = allocation.best_path(distances, frames, CHOICE, budget)
    assert CHOICE.bits(path, frames) <= budget or path == [0, 0, 0, 0]
    richer = allocation.best_path(distances, frames, CHOICE, 2 * budget)
    assert distances[range(4), richer].sum() <= distances[range(4), path].sum()


def test_distances_fall_and_meet_what_was_measured():
    bits = np.array([10.0, 20.0, 30.0, 40.0])
    found = allocation.interpolated(np.array([[4.0, 1.0], [3.0, 2.0], [1.0, 0.5]]), [0, 1, 3], bits)
    assert np.allclose(found[:, [0, 1, 3]], [[4, 3, 1], [1, 1, 0.5]])
    assert (np.diff(found, axis=1) <= 0).all()


def test_a_limit_takes_the_first_level_that_keeps_it():
    assert allocation.least_levels(np.array([[3.0, 2.0, 1.0], [0.5, 0.4, 0.3], [9.0, 8.0, 7.0]]), 2.0) == [1, 0, 2]


def test_windows_cut_codes_and_audio_alike():
    codes, audio = np.arange(25, dtype=np.uint16)[None], np.arange(100, dtype=np.float32)[None]
    parts = list(regroup_windows(((codes[:, i : i + 7], audio[:, 4 * i : 4 * i + 28]) for i in range(0, 25, 7)), 10, 4))
    assert [c.shape[1] for c, _ in parts] == [10, 10, 5] and all(a.shape[1] == 4 * c.shape[1] for c, a in parts)
    assert np.array_equal(np.concatenate([c for c, _ in parts], axis=1), codes)


@pytest.fixture(scope="module")
def model():
    return ecdc.open_codec("nano-24k")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Fourteen seconds of stereo: noise that swells, tones, near silence."""
    time = np.arange(14 * 24_000) / 24_000
    noise = np.random.default_rng(0).standard_normal((2, time.size)) * 0.2 * (np.sin(time) > 0)
    tones = 0.2 * np.sin(2 * np.pi * 440 * time) * (time > 5)
    path = tmp_path_factory.mktemp("vbr") / "clip.wav"
    soundfile.write(path, (noise + tones).T, 24_000)
    return path


@pytest.mark.parametrize(("channels", "kbps"), [(1, 2.0), (1, 6.3), (2, 6.0)])
def test_the_bitrate_is_what_was_asked_for(model, clip, tmp_path, channels, kbps):
    full, coded = tmp_path / "full.ecdc", tmp_path / "coded.ecdc"
    found = encode_file(clip, coded, model, channels=channels, vbr=Target(kbps))
    assert found.kbps == pytest.approx(kbps, rel=0.02) and found.n_bytes == coded.stat().st_size
    encode_file(clip, full, model, kbps=12 * channels, channels=channels)
    with ecdc.open(coded) as file, ecdc.open(full) as whole:
        assert len({chunk.n_codebooks for chunk in file}) > 1
        for chunk in file:
            for ours, all_codes in zip(chunk.streams(), whole.streams(chunk.first_frame, chunk.stop_frame), strict=True):
                assert np.array_equal(ours[: len(all_codes)], all_codes[: len(ours)])
    assert decode_file(coded, tmp_path / "back.wav").seconds == 14


def test_too_low_a_rate_and_other_codecs_are_refused(model, clip, tmp_path):
    with pytest.raises(ValueError, match=r"starts at 0.75 kbps"):
        encode_file(clip, tmp_path / "a.ecdc", model, channels=1, vbr=Target(0.5))
    assert not (tmp_path / "a.ecdc").exists()


def test_frames_so_short_that_one_read_gives_several_blocks_of_codes(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(9000), 24_000)
    codec = small_codec("as at 24 kHz")
    assert len(list(soundfile.blocks(tmp_path / "a.wav", BLOCK_FRAMES * codec.config.hop_length))) > 2
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, vbr=Target(distance_db=1.0))
    encode_file(tmp_path / "a.wav", tmp_path / "whole.ecdc", codec, kbps=codec.config.bitrates_kbps[-1])
    with ecdc.open(tmp_path / "whole.ecdc") as file:
        whole = file.codes()
    n_frames = 0
    with open(tmp_path / "a.ecdc", "rb") as file:
        for chunk in Reader(file):
            stop = chunk.first_frame + chunk.n_frames
            np.testing.assert_array_equal(chunk.codes, whole[: len(chunk.codes), chunk.first_frame : stop])
            n_frames += chunk.n_frames
    assert n_frames == whole.shape[1]
