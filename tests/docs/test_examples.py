"""Every example runs as a program does, and is short."""

import runpy
from pathlib import Path

import ecdc
import pytest
import soundfile
import torch
from ecdc.bench.corpus import CLIPS
from ecdc.codec.checkpoints import save
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.model import Codec

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    """An example's `main`."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    clip, rate = soundfile.read(CLIPS / "speech_it.flac", dtype="float32")
    soundfile.write(folder / "talk.wav", clip[: 3 * rate], rate)
    example("files")(folder / "talk.wav", folder / "talk.ecdc", folder / "back.wav")
    return folder


def test_examples_are_short_and_listed():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60 and f"`{path.name}`" in listed


def test_files(coded):
    assert soundfile.info(coded / "back.wav").frames == soundfile.info(coded / "talk.wav").frames


def test_tensors(capsys):
    example("tensors")()
    few, many = (float(line.split(" is ")[1].split()[0]) for line in capsys.readouterr().out.splitlines())
    assert many < few < 0  # more codebooks, less error


def test_microphone(capsys):
    example("microphone")()
    assert capsys.readouterr().out == "50 frames sent, 1.00 s heard\n"


def test_dataset(coded):
    names = runpy.run_path(str(EXAMPLES / "dataset.py"))
    dataset = names["TokenDataset"]([coded / "talk.ecdc"] * 2)
    assert len(dataset) == 6 and dataset[0].shape == (12, 50)
    assert torch.equal(dataset[1], dataset[4])


def test_token_lm(tmp_path, capsys):
    """A few steps on short pieces of the bundled clips; two minutes give a model that has learnt something."""
    for i, path in enumerate(sorted(CLIPS.glob("*.flac"))[:4]):
        clip, rate = soundfile.read(path, dtype="float32")
        (tmp_path / "clips").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "clips" / f"{i}.wav", clip[: 3 * rate], rate)
    example("token_lm")(tmp_path / "clips", tmp_path / "tokens", 2.0)
    first, last = (float(text.split()[0]) for text in capsys.readouterr().out.split(", ")[1].split(" -> "))
    assert last < first


def test_generator(coded):
    example("generator")(coded / "talk.ecdc", coded / "endless.ecdc")
    with ecdc.open(coded / "talk.ecdc") as one, ecdc.open(coded / "endless.ecdc") as other:
        half = one.frames // 2
        assert other.frames == one.frames + 4 * (one.frames - half)
        assert (other.codes(one.frames, one.frames + 10) == one.codes(half, half + 10)).all()


def test_published(coded, tmp_path, capsys):
    architecture = SeanetConfig(n_filters=2, lstm_layers=1)
    codec = Codec(CodecConfig("encodec_24khz", architecture, n_codebooks=8, bitrates_kbps=(1.5, 3.0, 6.0)))
    save(codec, tmp_path / "model")
    clip = soundfile.read(coded / "talk.wav", dtype="float32")[0]
    soundfile.write(tmp_path / "in.wav", clip[:24_000], 24_000)
    example("published")(tmp_path / "model", tmp_path / "in.wav", tmp_path / "out.wav")
    assert capsys.readouterr().out.startswith("8 codebooks, 75 frames")
    assert soundfile.info(tmp_path / "out.wav").frames == 24_000
