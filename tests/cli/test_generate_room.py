"""`ecdc generate --continue` with a beginning that is as long as the result: refused before anything is loaded."""

import os

import numpy as np
import pytest
import soundfile
from ecdc.codec.audio_in import AudioSource
from ecdc.format import Header, Writer
from ecdc.plugins import generators

RATE = 24_000


class Reached(Exception):
    """The generator was looked up."""


@pytest.fixture
def beginnings(tmp_path):
    """One second of audio, and an .ecdc file of one second, whose length is in its trailer."""
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    header = Header(
        codec="demo", token_space=bytes(32), sample_rate=RATE, original_sample_rate=RATE, hop_length=320, codebook_size=64,
        max_codebooks=4,
    )  # fmt: skip
    with (tmp_path / "a.ecdc").open("wb") as stream, Writer(stream, header) as writer:
        writer.append(np.zeros((4, 75), np.uint16))
    return tmp_path


@pytest.mark.parametrize("name", ["a.wav", "a.ecdc"])
def test_a_beginning_that_fills_the_result_is_refused_without_torch(imports, ecdc, one_line, beginnings, name):
    path, out = beginnings / name, beginnings / "out.ecdc"
    arguments = ("generate", "--seconds", 1, "-o", out, "--continue")
    line = one_line(ecdc(*arguments, path))
    assert line.startswith(f"ecdc: {path}: lasts 1.00 s, which leaves nothing to add: the result has 1 s")
    assert line.endswith("give more --seconds") and not out.exists()
    assert one_line(ecdc(*arguments, "-", stdin=path.read_bytes())) == line.replace(str(path), "standard input")
    assert imports("torch", *arguments, path) == []


def test_a_length_in_the_header_is_told_before_the_audio_is_read(ecdc, one_line, beginnings, monkeypatch):
    def fail(self):
        raise AssertionError("the audio is read")

    monkeypatch.setattr(AudioSource, "blocks", fail)
    assert "lasts 1.00 s" in one_line(ecdc("generate", "--continue", beginnings / "a.wav", "--seconds", 0.5, "-o", "-"))


def test_a_length_that_no_header_gives_is_told_after_reading(ecdc, one_line, beginnings):
    data = bytearray((beginnings / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4  # as programs write into pipes
    assert "lasts 1.00 s" in one_line(ecdc("generate", "--continue", "-", "--seconds", 1, "-o", "-", stdin=bytes(data)))


@pytest.mark.parametrize("name", ["a.wav", "a.ecdc"])
def test_a_shorter_beginning_reaches_the_generator(ecdc, beginnings, monkeypatch, name):
    def found(name):
        raise Reached

    monkeypatch.setattr(generators, "generator", found)
    with pytest.raises(Reached):
        ecdc("generate", "--continue", beginnings / name, "--seconds", 1.01, "-o", os.devnull)
