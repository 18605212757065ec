"""The model that comes along: offline, into the codec's token space, and steered by what it is told."""

import numpy as np
import pytest
import torch
from ecdc.codec.checkpoints import load as load_codec
from ecdc.format import CodeFile, Provenance
from ecdc.plugins.musicgen import Guidance, Options, Sampling, load
from ecdc.plugins.musicgen.model_folder import BUNDLED, bundled


@pytest.fixture(scope="module")
def model():
    return load("musicgen-nano")


def test_the_command_makes_tokens_of_the_codec(call_generate, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for options, rows in (([], 4), (["--stereo"], 8)):
        call_generate("slow sad piano, 70 bpm", "--seconds", 0.5, *options, "-o", tmp_path / "piano.ecdc", "--force")
        with CodeFile(tmp_path / "piano.ecdc") as file:
            codec = load_codec("nano-24k")
            file.header.require(codec.config.name, codec.token_space)
            assert file.header.provenance is Provenance.GENERATED
            assert np.concatenate([np.asarray(codes) for codes in file.streams()]).shape == (rows, 37)
            audio = codec.decode(torch.from_numpy(np.asarray(next(iter(file.streams()))).astype(np.int64))[None])
    assert audio.shape == (1, 1, 37 * 320) and audio.isfinite().all()


def test_words_numbers_and_melodies_steer(model):
    """Each gives other tokens than the others, at the same seed."""
    how = Options(seconds=0.3, sampling=Sampling(temperature=0), guidance=Guidance(3))
    tone = torch.sin(2 * torch.pi * 262 / 24_000 * torch.arange(24_000))
    prompts = [None, "loud drums", "soft flute", "90 bpm", "150 bpm", None]
    melodies = [None] * 5 + [tone]
    made = model.generate(prompts, how, melodies)
    assert len({tuple(codes.flatten().tolist()) for codes in made}) == 6


def test_what_comes_along_is_small():
    assert bundled() == ["musicgen-nano"]
    assert sum(path.stat().st_size for path in (BUNDLED / "musicgen-nano").iterdir()) < 25e6
