"""`ecdc generate --continue` with an .ecdc file of another codec: it is decoded, and coded again as the generator's tokens."""

import ecdc
import numpy as np
import pytest
import soundfile
import split_models
from ecdc.cli.main import main
from ecdc.codec.checkpoints import save as save_codec
from ecdc.codec.runtime import shared, shared_bundled
from ecdc.format import CodeFile
from ecdc.plugins.musicgen import open_source

OTHER = "tiny"  # the prompts' codec: another rate, frame and token space


@pytest.fixture
def folders(folders):
    """The folders of a bundled generator and its codec, and of another bundled codec, whose files are the prompts."""
    save_codec(split_models.build(), folders / "codecs" / OTHER)
    for cached in (shared, shared_bundled):
        cached.cache_clear()
    yield folders
    for cached in (shared, shared_bundled):
        cached.cache_clear()


def call(*args):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, args), "--quiet"])
    assert not stop.value.code


def codes_of(path):
    """Header and codes [rows, T] of a file."""
    with CodeFile(path) as file:
        return file.header, np.concatenate([np.asarray(rows) for rows in file.streams()])


def prompt_of(folder, channels, n_samples=17_000, rate=48_000):
    """An .ecdc file of the other codec: noise of some frames and a part of one."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((n_samples, channels))
    soundfile.write(folder / "a.wav", noise, rate)
    call("encode", folder / "a.wav", "--model", OTHER, "-o", folder / "prompt.ecdc")
    return folder / "prompt.ecdc"


@pytest.mark.parametrize(("channels", "layout", "rate"), [(1, None, 48_000), (2, "left_right", 48_000), (1, None, 44_100)])
def test_the_result_starts_with_what_decoding_and_encoding_give(folders, codec, call_generate, channels, layout, rate):
    prompt, out = prompt_of(folders, channels, rate=rate), folders / "out.ecdc"
    call("decode", prompt, "--bits", "float", "--rate", 48_000, "-o", folders / "b.wav")
    options = ["--stereo", layout] if layout else []
    options += ["--model", codec.config.name, "--kbps", 9, "--effort", 0]
    call("encode", folders / "b.wav", *options, "-o", folders / "b.ecdc")
    said = call_generate("piano", "--continue", prompt, "--seconds", 0.6, "-o", out)
    assert said.splitlines()[0] == "the prompt holds tokens of tiny; it is decoded and coded again as random-24k"
    header, made = codes_of(out)
    wanted = codes_of(folders / "b.ecdc")[1]
    assert header.codec == codec.config.name and header.token_space == codec.token_space
    assert made.shape == (4 * channels, 45) and np.array_equal(made[:, : wanted.shape[1]], wanted)
    assert wanted.shape[1] == -(-soundfile.info(folders / "b.wav").frames // 640) > 26


def test_two_channels_become_one_if_asked(folders, call_generate):
    prompt, out = prompt_of(folders, 2), folders / "out.ecdc"
    call_generate("--continue", prompt, "--seconds", 0.6, "--mono", "-o", out)
    assert codes_of(out)[1].shape == (4, 45)


def test_a_pipe_gives_what_a_file_gives(folders, call_generate):
    prompt = prompt_of(folders, 1)
    call_generate("--continue", prompt, "--seconds", 0.5, "-o", folders / "a.ecdc")
    quiet = call_generate("--continue", "-", "--seconds", 0.5, "-o", folders / "b.ecdc", "--quiet", stdin=prompt.read_bytes())
    assert (folders / "a.ecdc").read_bytes() == (folders / "b.ecdc").read_bytes() and quiet == ""


def test_from_python(folders):
    """An open file is accepted too, and the source says what it did; a prompt of the own codec needs no words."""
    with ecdc.open(prompt_of(folders, 1)) as file:
        source = open_source("musicgen-nano", start=file, seconds=0.5)
    assert len(source.notes) == 1 and source.prompt_codes.shape == (4, 27)
    assert open_source("musicgen-nano", seconds=0.5).notes == ()


def test_from_python_a_prompt_that_fills_the_result_is_refused(folders):
    with ecdc.open(prompt_of(folders, 1)) as file:  # 27 of the generator's frames
        source = open_source("musicgen-nano", start=file, seconds=0.36)
    with pytest.raises(ValueError, match=r"a prompt of 0.36 s leaves nothing to add: 0.36 s are wanted"):
        list(source.blocks())


def test_what_cannot_be_is_one_line_and_no_file(folders, call_generate):
    prompt, out = prompt_of(folders, 1), folders / "out.ecdc"
    data = prompt.read_bytes()
    unknown, cut, space = folders / "unknown.ecdc", folders / "cut.ecdc", folders / "space.ecdc"
    with CodeFile(prompt) as file:
        ecdc.write(unknown, file, codec="else")
        ecdc.write(space, file, token_space=bytes(32))
    cut.write_bytes(data[:-20])
    for path, message in [
        (unknown, "its codec 'else' is not bundled: give the audio that `ecdc decode --model` makes of it"),
        (space, "the codes are of tiny (0000"),
        (cut, "needs 34 bytes here"),
    ]:
        text = call_generate("--continue", path, "--seconds", 0.5, "-o", out, code=1)
        assert text.startswith(f"ecdc: {path}: byte ") and message in text and len(text.strip().splitlines()) == 1, text
        assert not out.exists()
    text = call_generate("--continue", prompt, "--seconds", 0.2, "-o", out, code=1)
    assert "leaves nothing to add" in text and not out.exists()


def test_a_prompt_of_the_own_tokens_is_taken_whole_or_not_at_all(folders, codec, call_generate):
    own, cut, out = folders / "own.ecdc", folders / "cut.ecdc", folders / "out.ecdc"
    call_generate("--seconds", 0.3, "-o", own)
    cut.write_bytes(own.read_bytes()[:-20])
    text = call_generate("--continue", cut, "--seconds", 0.5, "-o", out, code=1)
    assert text.startswith(f"ecdc: {cut}: byte ") and not out.exists()
