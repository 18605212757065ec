"""Tags travel: from every input into the container, and out again; repeated keys stay repeated."""

import struct

import mutagen
import numpy as np
import pytest
import soundfile
from ecdc.codec.audio_in import AudioSource
from ecdc.codec.tags import KEYS, MAX_TAGS, MAX_TOTAL, merge, read_tags, write_tags
from media_files import encoded, read, read_fifo, tone

TAGS = [
    ("title", "Ünder the sea"), ("artist", "Ann"), ("artist", "Bob; and others"), ("album", "Über = alles"),
    ("date", "2024-05-06"), ("track", "3/12"), ("comment", "line one\nline two"),
]  # fmt: skip
ONE = [pair for pair in TAGS if pair[1] != "Bob; and others"]


def tags_of(path):
    with AudioSource(path) as audio:
        return audio.tags()


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.flac", "a.ogg", "a.opus", "a.m4a", "a.mkv", "a.webm", "a.wma", "a.aiff", "a.oga", "a.wv"]
)
def test_tags_of_every_input(tmp_path, name):
    """As FFmpeg writes them; the samples are the same with and without."""
    data = encoded(name, tags=ONE)
    if name == "a.ogg":
        (tmp_path / name).write_bytes(encoded(name))
        write_tags(tmp_path / name, "ogg", ONE)
        data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data)
    wanted = [pair for pair in ONE if name != "a.aiff" or pair[0] in ("title", "comment")]
    found = tags_of(tmp_path / name)
    assert [pair for pair in found if pair in wanted] == wanted
    assert read(tmp_path / name).shape == read_fifo(encoded(name)).shape


@pytest.mark.parametrize("form", ["mp3", "flac", "ogg", "opus", "m4a", "wav", "aiff"])
def test_what_is_written_is_read_again(tmp_path, form):
    path = tmp_path / f"a.{form}"
    path.write_bytes(encoded(path.name))
    before = read(path)
    write_tags(path, form, TAGS)
    assert tags_of(path) == TAGS
    np.testing.assert_array_equal(read(path), before)
    with open(path, "rb") as file:
        assert read_tags(file) == TAGS or form == "wav"


def test_a_wav_holds_what_other_programs_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1001)[0], 8000, "PCM_U8")  # an odd number of bytes
    write_tags(tmp_path / "a.wav", "wav", TAGS)
    assert soundfile.info(tmp_path / "a.wav").frames == 1001
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert file.title == "Ünder the sea" and file.comment == "line one\nline two"
    assert mutagen.File(tmp_path / "a.wav").tags["TPE1"].text == ["Ann", "Bob; and others"]
    data = (tmp_path / "a.wav").read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8


def test_info_lists_before_and_after_the_samples(tmp_path):
    body = b"INFO" + b"".join(k + struct.pack("<I", len(v)) + v + b"\0" * (len(v) & 1) for k, v in [(b"IART", b"Ann\0")])
    chunk = b"LIST" + struct.pack("<I", len(body)) + body
    soundfile.write(tmp_path / "a.wav", tone(1000)[0], 8000)
    data = (tmp_path / "a.wav").read_bytes()
    for tagged in (data[:36] + chunk + data[36:], data + chunk):
        (tmp_path / "b.wav").write_bytes(tagged)
        assert tags_of(tmp_path / "b.wav") == [("artist", "Ann")]


def test_tags_fit_into_a_header():
    many = [("comment", "é" * 20_000)] * 500 + [("title", "x\0"), ("artist", " ")]
    merged = merge(many)
    assert merged[0] == ("title", "x") and len(merged) <= MAX_TAGS
    assert sum(len(k) + len(v.encode()) for k, v in merged) < MAX_TOTAL
    assert {key for key, _ in merged} <= set(KEYS)
