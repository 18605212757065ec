"""`ecdc generate` with a model of our own: mono, stereo, melodies, beginnings, and one line for what cannot be."""

import json
import os
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from ecdc.cli import generate as command
from ecdc.codec.audio_in import AudioSource
from ecdc.format import ChannelCoding, CodeFile, Header, Provenance, Reader, Writer
from ecdc.format.edit import cut
from ecdc.plugins.musicgen import checkpoint, model_folder

RATE = 24_000


@pytest.fixture
def generate(folders, call_generate):
    """`ecdc generate` with that model."""
    return call_generate


def read(path):
    """Header and codes [rows, T] of a file."""
    with CodeFile(path) as file:
        return file.header, np.concatenate([np.asarray(rows) for rows in file.streams()]), dict(file.tags)


def write(path, codec, codes, channels=1, coding=ChannelCoding.MONO, space=None, output_gain=0):
    header = Header(
        codec=codec.config.name, token_space=space or codec.token_space, sample_rate=RATE, original_sample_rate=RATE,
        hop_length=320, codebook_size=64, max_codebooks=4, channels=channels, channel_coding=coding,
        output_gain=output_gain,
    )  # fmt: skip
    with path.open("wb") as stream, Writer(stream, header) as writer:
        writer.append(codes)


def test_mono_unless_stereo_is_asked_for(generate, tmp_path):
    for options, channels in (([], 1), (["--mono"], 1), (["--stereo"], 2)):
        out = tmp_path / f"{channels}.ecdc"
        generate("sad piano", "--seconds", 0.5, "--seed", 3, "--guidance", 2, *options, "-o", out, "--force")
        header, codes, tags = read(out)
        assert header.channels == channels and codes.shape == (4 * channels, 37)
        assert header.codec == "random-24k" and header.provenance is Provenance.GENERATED
        assert tags == {"generator": "tiny", "seed": "3", "guidance": "2", "prompt": "sad piano"}


@pytest.mark.parametrize("by_pipe", [False, True])
def test_a_beginning_stays_as_it_is(generate, tmp_path, by_pipe):
    """Whatever its channels and length; a mono one is both sides of stereo."""
    mono, both = tmp_path / "mono.ecdc", tmp_path / "both.ecdc"
    generate("--seconds", 0.6, "-o", mono)  # more than a window
    generate("--seconds", 0.3, "--stereo", "-o", both)
    for start, options, channels in ((mono, [], 1), (both, [], 2), (mono, ["--stereo"], 2), (both, ["--stereo"], 2)):
        arguments = ("--continue", "-" if by_pipe else start, "--seconds", 1, *options, "-o", tmp_path / "out.ecdc", "--force")
        generate("piano", *arguments, stdin=start.read_bytes() if by_pipe else b"")
        header, codes, _ = read(tmp_path / "out.ecdc")
        known = read(start)[1]
        assert header.channels == channels and codes.shape == (4 * channels, 75)
        for rows in codes.reshape(channels, 4, -1) if start == mono else [codes]:
            assert np.array_equal(rows[:, : known.shape[1]], known)


@pytest.mark.parametrize(("start", "duration"), [(0.105, 0.2), (0.4, None)])
def test_a_part_that_was_cut_out_is_continued_where_it_is_heard(generate, codec, tmp_path, start, duration):
    """The frames before it, which let the decoder settle, stay in the file and are not heard; those after it are dropped."""
    codes = np.random.default_rng(0).integers(0, 64, (4, 40)).astype(np.uint16)
    write(tmp_path / "whole.ecdc", codec, codes)
    with open(tmp_path / "whole.ecdc", "rb") as source, open(tmp_path / "part.ecdc", "wb") as part:
        cut(Reader(source), part, Fraction(str(start)), duration and Fraction(str(duration)))
    generate("--continue", tmp_path / "part.ecdc", "--seconds", 0.5, "-o", tmp_path / "out.ecdc")
    header, made, _ = read(tmp_path / "out.ecdc")
    before = header.pre_skip // 320
    assert header.pre_skip == round(start * RATE)
    assert made.shape == (4, before + 37)
    heard = -(-round((start + (duration or 1)) * RATE) // 320) if duration else 40
    assert np.array_equal(made[:, :heard], codes[:, :heard])
    assert not np.array_equal(made[:, heard : heard + 1], codes[:, heard : heard + 1])


def test_the_gain_of_what_is_continued_stays(generate, codec, tmp_path):
    write(tmp_path / "a.ecdc", codec, np.zeros((4, 9), np.uint16), output_gain=-512)
    generate("--continue", tmp_path / "a.ecdc", "--seconds", 0.5, "-o", tmp_path / "out.ecdc")
    assert read(tmp_path / "out.ecdc")[0].output_gain == -512


@pytest.mark.parametrize("option", ["--continue", "--melody"])
@pytest.mark.parametrize("name", ["a.ecdc", "a.wav"])
def test_named_pipes_are_read_once(generate, codec, tmp_path, option, name):
    write(tmp_path / "a.ecdc", codec, np.random.default_rng(0).integers(0, 64, (4, 20)).astype(np.uint16))
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(6_000), RATE)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / name).read_bytes()))
    writer.start()
    for source in ("pipe", name):
        generate(option, tmp_path / source, "--seconds", 0.5, "-o", tmp_path / f"{source}.out")
    writer.join()
    assert (tmp_path / "pipe.out").read_bytes() == (tmp_path / f"{name}.out").read_bytes()


def test_of_a_long_melody_only_what_is_used_is_read(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MELODY_AHEAD", 0.5)
    n_read = []

    def blocks(self):
        for _ in range(40):
            n_read.append(2400)
            yield np.ones((1, 2400), np.float32)

    soundfile.write(tmp_path / "a.wav", np.ones(96_000), RATE)
    monkeypatch.setattr(AudioSource, "blocks", blocks)
    generate("--melody", tmp_path / "a.wav", "--seconds", 0.5, "-o", tmp_path / "out.ecdc")
    assert sum(n_read) == RATE


def test_of_mid_and_side_the_mid_is_continued_in_mono(generate, codec, tmp_path):
    """Which is how `ecdc encode` codes stereo."""
    codes = np.random.default_rng(0).integers(0, 64, (8, 20)).astype(np.uint16)
    write(tmp_path / "side.ecdc", codec, codes, 2, ChannelCoding.MID_SIDE)
    for options in ([], ["--mono"]):
        generate("--continue", tmp_path / "side.ecdc", "--seconds", 0.5, *options, "-o", tmp_path / "out.ecdc", "--force")
        header, made, _ = read(tmp_path / "out.ecdc")
        assert header.channel_coding is ChannelCoding.MONO and np.array_equal(made[:, :20], codes[:4]) and made.shape == (4, 37)


def test_audio_is_continued_and_followed(generate, codec, tmp_path):
    wav = tmp_path / "a.wav"
    soundfile.write(wav, 0.1 * np.random.default_rng(0).standard_normal((9_600, 2)), RATE)
    for options, channels in (([], 2), (["--mono"], 1)):
        generate("--continue", wav, "--seconds", 0.6, *options, "-o", tmp_path / "out.ecdc", "--force")
        header, codes, _ = read(tmp_path / "out.ecdc")
        assert header.channels == channels and codes.shape == (4 * channels, 45)
    for melody, stdin in ((wav, b""), ("-", wav.read_bytes())):
        generate("--melody", melody, "--seconds", 0.3, "-o", tmp_path / f"{len(stdin)}.ecdc", "--temperature", 0, stdin=stdin)
    assert (tmp_path / "0.ecdc").read_bytes() == (tmp_path / f"{len(wav.read_bytes())}.ecdc").read_bytes()


def test_what_cannot_be_is_one_line_and_no_file(generate, codec, tmp_path):
    names = ("side", "other", "few", "long", "both")
    side, other, few, long, both = (tmp_path / f"{name}.ecdc" for name in names)
    write(side, codec, np.zeros((8, 9), np.uint16), 2, ChannelCoding.MID_SIDE)
    write(both, codec, np.zeros((8, 9), np.uint16), 2, ChannelCoding.LEFT_RIGHT)
    write(other, codec, np.zeros((4, 9), np.uint16), space=bytes(32))
    write(few, codec, np.zeros((2, 9), np.uint16))
    write(long, codec, np.zeros((4, 99), np.uint16))
    short, empty, out = tmp_path / "short.wav", tmp_path / "empty.wav", tmp_path / "out.ecdc"
    soundfile.write(short, np.zeros(240), RATE)
    soundfile.write(empty, np.zeros(0), RATE)
    cases = [
        ((), (" ",), "the prompt is empty"),
        ((), ("a " * 5_001,), "10000 characters at most, got 10002"),
        (("--continue", "-"), (), "the codes are of random-24k (0000"),
        (("--continue", side, "--stereo"), (), "left and right (ecdc encode --stereo left_right), got mid_side"),
        (("--continue", both, "--mono"), (), "continues mono, got left_right"),
        (("--continue", few), (), "4 codebooks or more, this file has 2; give the audio"),
        (("--continue", long), (), "leaves nothing to add"),
        (("--melody", short), (), "a melody must last 0.085 s or more, got 0.010 s"),
        (("--melody", empty), (), f"ecdc: {empty}: holds no samples"),
        (("--continue", empty), (), f"ecdc: {empty}: holds no samples"),
        (("--guidance", "2", "--model", tmp_path), (), "holds none of"),
    ]
    for options, prompt, message in cases:
        text = generate(*prompt, *options, "--seconds", 0.5, "-o", out, code=1, stdin=other.read_bytes())
        assert message in text and len(text.strip().splitlines()) == 1, text
        assert not out.exists()
    for sound in (empty.read_bytes(), b"this is not audio at all"):
        for option in ("--melody", "--continue"):
            text = generate(option, "-", "--seconds", 0.5, "-o", out, code=1, stdin=sound)
            assert text.startswith("ecdc: standard input: ") and len(text.strip().splitlines()) == 1, text
    assert "--separate needs a --melody" in generate("piano", "--separate", "-o", out, code=2)
    assert "tags must be text that UTF-8 can represent" in generate("piano \udcff", "-o", out, code=1)
    for seconds in ("0", "10000", "-1"):
        assert "--seconds" in generate("piano", "--seconds", seconds, "-o", out, code=2)
    generate("a " * 5_000, "--seconds", 0.1, "-o", out)  # a long one is read as far as the text encoder reads


def test_help_is_there_at_once():
    """Without torch."""
    script = (
        "import sys; from ecdc.cli.main import main\n"
        "try: main(['generate', '-h'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, check=True)
    assert "--stereo" in done.stdout and done.stdout.strip().endswith("False")


def test_a_model_whose_weights_are_not_here(call_generate, tmp_path, monkeypatch):
    (tmp_path / "weights" / "musicgen-nano").mkdir(parents=True)
    monkeypatch.setattr(model_folder, "BUNDLED", tmp_path / "weights")
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path / "weights")
    said = call_generate("a waltz", "-o", tmp_path / "a.ecdc", code=1)
    assert said.count("\n") == 1 and "ecdc train musicgen musicgen-nano" in said and not (tmp_path / "a.ecdc").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec": "nobody"}, "its codec 'nobody' is not bundled"),
        ({"codec": "../codecs/random-24k"}, "its codec '../codecs/random-24k' is not bundled"),
        ({"frame_rate": 50}, "frame_rate must be 75, as of its codec random-24k, got 50"),
        ({"sample_rate": 48_000}, "sample_rate must be 24000"),
    ],
)
def test_a_model_whose_codec_does_not_fit_is_one_line(generate, tmp_path, changes, message):
    path = tmp_path / "weights" / "musicgen-nano" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert message in generate("--seconds", 0.5, "-o", tmp_path / "a.ecdc", code=1)
    assert not (tmp_path / "a.ecdc").exists()
