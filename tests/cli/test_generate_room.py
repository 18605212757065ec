"""`ecdc generate --continue` with a beginning that is as long as the result: refused before anything is loaded."""

import io
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from ecdc.codec import pipeline, runtime
from ecdc.codec.audio_in import AudioSource
from ecdc.format import CodeFile, Header, Writer, files
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
    piped = one_line(ecdc(*arguments, "-", stdin=path.read_bytes()))
    assert piped.replace(" or more", "") == line.replace(str(path), "standard input")
    assert imports("torch", (*arguments, path)) == []


def test_a_length_in_the_header_is_told_before_the_audio_is_read(ecdc, one_line, beginnings, monkeypatch):
    def fail(self):
        raise AssertionError("the audio is read")

    monkeypatch.setattr(AudioSource, "blocks", fail)
    assert "lasts 1.00 s" in one_line(ecdc("generate", "--continue", beginnings / "a.wav", "--seconds", 0.5, "-o", "-"))


def test_a_length_that_no_header_gives_is_told_after_reading(ecdc, one_line, beginnings):
    data = bytearray((beginnings / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4  # as programs write into pipes
    assert "lasts 1.00 s" in one_line(ecdc("generate", "--continue", "-", "--seconds", 1, "-o", "-", stdin=bytes(data)))


class Endless:
    """A pipe of one second of zeros again and again; reading far beyond what is needed fails."""

    def __init__(self, begin, again, most):
        self.left, self.again, self.most = begin, again, most

    def read(self, size=-1):
        assert self.most > 0, "it is read without an end"
        if not self.left:
            self.left, self.most = self.again, self.most - 1
        part, self.left = self.left[:size], self.left[size:]
        return part


def endless_wav(beginnings):
    data = bytearray((beginnings / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4  # as programs write into pipes
    return Endless(bytes(data), bytes(data[44:]), 100)


def endless_ecdc(beginnings):
    whole = io.BytesIO()
    writer = Writer(whole, CodeFile(beginnings / "a.ecdc").header)
    begin = whole.getvalue()

    class Codes(Endless):
        def read(self, size=-1):
            if not self.left:
                whole.seek(0)
                whole.truncate()
                writer.append(np.zeros((4, 75), np.uint16))
                writer.flush()
                self.again = whole.getvalue()
            return super().read(size)

    return Codes(begin, b"", 100)


@pytest.mark.parametrize("endless", [endless_wav, endless_ecdc])
def test_a_pipe_is_not_read_further_than_it_is_needed(ecdc, one_line, beginnings, monkeypatch, endless):
    """A beginning that is too long is refused early, and only the start of a melody is read."""
    monkeypatch.setattr(files, "standard_stream", lambda stream, name: endless(beginnings))
    line = one_line(ecdc("generate", "--continue", "-", "--seconds", 3, "-o", "-"))
    assert re.match(r"ecdc: standard input: lasts \d.00 s or more, which leaves nothing to add: the result has 3 s", line)
    heard = []
    monkeypatch.setattr(generators, "generator", lambda name: lambda model, **options: heard.append(options["melody"]))
    blocks = lambda codec, reader: (np.zeros((1, 320 * chunk.n_frames)) for chunk in reader.chunks())  # noqa: E731
    monkeypatch.setattr(pipeline, "decode_blocks", blocks)
    monkeypatch.setattr(runtime, "shared_bundled", lambda name: SimpleNamespace(sample_rate=RATE))
    with pytest.raises(AttributeError):  # the generator that heard it makes nothing
        ecdc("generate", "--melody", "-", "--seconds", 2, "-o", "-")
    assert heard[0].audio.shape == (1, 62 * RATE)


def test_a_missing_folder_is_made_before_the_work(ecdc, one_line, tmp_path, monkeypatch):
    """`ecdc encode` does the same. If the folder cannot be made, an error says so before anything is loaded."""
    made = tmp_path / "new" / "folder"

    def found(name):
        assert made.is_dir()
        raise Reached

    monkeypatch.setattr(generators, "generator", found)
    with pytest.raises(Reached):
        ecdc("generate", "--seconds", 1, "-o", made / "a.ecdc")
    (tmp_path / "file").write_text("mine")
    line = one_line(ecdc("generate", "--seconds", 1, "-o", tmp_path / "file" / "below" / "a.ecdc"))
    assert line == f"ecdc: {tmp_path / 'file' / 'below'}: Not a directory"


@pytest.mark.parametrize("name", ["a.wav", "a.ecdc"])
def test_a_shorter_beginning_reaches_the_generator(ecdc, beginnings, monkeypatch, name):
    def found(name):
        raise Reached

    monkeypatch.setattr(generators, "generator", found)
    with pytest.raises(Reached):
        ecdc("generate", "--continue", beginnings / name, "--seconds", 1.01, "-o", os.devnull)
