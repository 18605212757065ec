"""`ecdc generate`: tokens into the container, from nothing, from a beginning, from a melody; one line for what cannot be."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from ecdc.cli.main import main
from ecdc.format import CodeFile, Provenance
from musicgen_models import tiny, write_codec, write_package


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a mono model of random weights and its codec."""
    folder = tmp_path_factory.mktemp("model")
    write_codec(folder)
    write_package(tiny(text_dimension=768), folder / "state_dict.bin")
    return folder


@pytest.fixture
def generate(model, call_generate):
    """`ecdc generate` with that model."""
    return partial(call_generate, "--model", model)


def test_the_same_seed_makes_the_same_file(generate, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate("--seconds", 0.4, "--seed", seed, "-o", tmp_path / f"{name}.ecdc", "--quiet")
    a, b, c = ((tmp_path / f"{name}.ecdc").read_bytes() for name in "abc")
    assert a == b != c
    with CodeFile(tmp_path / "a.ecdc") as file:
        assert file.header.provenance is Provenance.GENERATED and dict(file.tags)["seed"] == "1"
        assert file.seconds == pytest.approx(0.4, abs=0.03)


def test_threads(generate, tmp_path):
    before = torch.get_num_threads()
    try:
        for number in (2, 1):
            generate("--seconds", 0.1, "--threads", number, "-o", tmp_path / f"{number}.ecdc")
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("by_pipe", [False, True])
def test_it_goes_on_from_tokens(generate, tmp_path, by_pipe):
    first, whole = tmp_path / "first.ecdc", tmp_path / "whole.ecdc"
    generate("--seconds", 0.3, "-o", first, "--temperature", 0)
    stdin = first.read_bytes() if by_pipe else b""
    generate("--seconds", 0.6, "--continue", "-" if by_pipe else first, "-o", whole, "--temperature", 0, stdin=stdin)
    with CodeFile(first) as one, CodeFile(whole) as two:
        assert two.frames > one.frames
        assert np.array_equal(two.codes(0, one.frames), one.codes())


def test_it_goes_on_from_audio(generate, tmp_path):
    wav = tmp_path / "a.wav"
    soundfile.write(wav, 0.1 * np.random.default_rng(0).standard_normal((6000, 2)), 24_000)
    generate("--seconds", 0.6, "--continue", wav, "-o", tmp_path / "a.ecdc", "--top-k", 5)
    with CodeFile(tmp_path / "a.ecdc") as file:
        assert file.seconds == pytest.approx(0.6, abs=0.03)


def test_what_cannot_be_is_one_line_and_no_file(generate, tmp_path):
    out, other = tmp_path / "a.ecdc", tmp_path / "other.ecdc"
    from ecdc.format import Header, Writer

    header = Header(
        codec="else", token_space=bytes(32), sample_rate=32_000, hop_length=640, codebook_size=64, max_codebooks=4,
        original_sample_rate=32_000,
    )  # fmt: skip
    with other.open("wb") as stream, Writer(stream, header) as writer:
        writer.append(np.zeros((4, 9), np.uint16))
    cases = [
        (("--continue", other), "other.ecdc: byte 92: its codec 'else' is not bundled: give the audio that"),
        (("--continue", tmp_path / "none.wav"), "No such file"),
        (("--melody", other), "its codec 'else' is not bundled: give the audio that"),
        (("--generator", "nobody"), "nobody: no such generator"),
        (("--model", tmp_path / "no model"), "no model"),
    ]
    for options, message in cases:
        text = generate(*options, "--seconds", 0.3, "-o", out, code=1)
        assert message in text and len(text.strip().splitlines()) == 1, text
        assert not out.exists()
    assert "-o" in generate(code=2)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted_it_leaves_what_was_made(model, tmp_path, name):
    script = (
        "import signal, sys\n"
        "from ecdc.plugins.musicgen import MusicGenSource\n"
        "blocks = MusicGenSource.blocks\n"
        "def interrupted(self):\n"
        "    for i, block in enumerate(blocks(self)):\n"
        "        if i == 7: signal.raise_signal(signal.NAME)\n"
        "        yield block\n"
        "MusicGenSource.blocks = interrupted\n"
        "from ecdc.cli.main import main; main(sys.argv[1:])"
    ).replace("NAME", name)
    out = tmp_path / "a.ecdc"
    command = [sys.executable, "-c", script, "generate", "--model", model, "--seconds", "5", "-o", out]
    done = subprocess.run(list(map(str, command)), env=os.environ, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "ecdc: interrupted; what was generated until then is kept\n"
    with CodeFile(out) as file:
        assert 0 < file.seconds < 1


@pytest.mark.parametrize("option", ["--continue", "--melody"])
def test_a_closed_standard_input_is_one_line(model, tmp_path, option):
    words = f"'{sys.executable}' -m ecdc.cli generate --model '{model}' {option} - -o '{tmp_path}/a.ecdc' <&-"
    done = subprocess.run(words, shell=True, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "ecdc: standard input: is closed\n"
    assert not list(tmp_path.iterdir())


def test_generators_are_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["generate", "--list"])
    assert not stop.value.code
    assert "musicgen" in capsys.readouterr().out
