"""Clips: what ships is what its list says; any folder serves; what cannot serve says why."""

import numpy as np
import pytest
import soundfile
from ecdc.bench import corpus
from ecdc.train.data.sources import is_validation

RATE = 24_000


def test_bundled_clips_are_those_of_the_list():
    clips = list(corpus.bundled(RATE))
    assert {clip.kind for clip in clips} == set(corpus.KINDS) and 10 <= len(clips) <= 14
    assert sorted(path.name for path in corpus.CLIPS.glob("*.flac")) == sorted(row["file"] for row in corpus.catalogue())
    for clip in clips:
        assert clip.licence and not clip.problem and 1.9 < clip.seconds <= 10 and 0.01 < np.abs(clip.audio).max() <= 1


def test_bundled_clips_come_from_the_validation_slice():
    for row in corpus.catalogue():
        assert row["parts"] and all(is_validation(part.partition("@")[0]) for part in row["parts"])


def test_a_changed_clip_is_refused(tmp_path, monkeypatch):
    for path in corpus.CLIPS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "speech_ru.flac").write_bytes(b"other")
    monkeypatch.setattr(corpus, "CLIPS", tmp_path)
    with pytest.raises(ValueError, match=r"speech_ru\.flac: its SHA-256"):
        list(corpus.bundled(RATE))


def test_folders_of_odd_audio(tmp_path):
    t = np.arange(3 * 8000) / 8000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    (tmp_path / "speech" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "speech" / "deep" / "low.wav", tone, 8000)
    soundfile.write(tmp_path / "high.flac", np.tile(tone, 5), 192_000)
    soundfile.write(tmp_path / "six.wav", np.stack([tone] * 6, axis=1), 48_000)
    soundfile.write(tmp_path / "one.wav", tone[:1], 24_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 24_000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", tone[:0], 24_000)
    (tmp_path / "broken.ogg").write_text("nothing")
    (tmp_path / "notes.txt").write_text("not audio, not listed")
    clips = {clip.name: clip for clip in corpus.folder(tmp_path, RATE, max_seconds=2.0)}
    assert list(clips) == ["broken", "high", "nan", "none", "one", "six", "speech/deep/low"]
    assert clips["speech/deep/low"].kind == "speech" and clips["six"].kind == "audio"
    assert clips["speech/deep/low"].seconds == 2 and clips["speech/deep/low"].native_rate == 8000
    assert abs(clips["six"].audio).max() == pytest.approx(0.3, abs=0.02) and len(clips["one"].audio) == 1
    assert {name for name, clip in clips.items() if clip.problem} == {"broken", "nan", "none"}
    assert "not finite" in clips["nan"].problem and "no samples" in clips["none"].problem


def test_clips_of_one_name_in_two_formats_stay_two(tmp_path):
    for name in ("a.wav", "a.flac", "b.wav"):
        soundfile.write(tmp_path / name, np.full(RATE, 0.1), RATE)
    assert [clip.name for clip in corpus.folder(tmp_path, RATE, None)] == ["a.flac", "a.wav", "b"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no audio in this folder"):
        list(corpus.folder(tmp_path, RATE, None))


@pytest.mark.parametrize("hz", [1000, 3400, 8000])
def test_bandwidth_is_that_of_the_highest_tone(hz):
    t = np.arange(RATE) / RATE
    audio = (0.3 * np.sin(2 * np.pi * 300 * t) + 0.01 * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    assert hz < corpus.bandwidth(audio, RATE) <= hz + 1000
    assert corpus.bandwidth(np.zeros(RATE, np.float32), RATE) == 0


def test_made_up_sounds_depend_on_the_seed_alone():
    one, two, other = (list(corpus.synthetic(RATE, seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a.audio, b.audio) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0].audio, other[0].audio)
