"""The seam: generators are found by entry point, and what they make reaches the container."""

import importlib
import io
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from ecdc.codec.audio import AudioSource
from ecdc.codec.pipeline import decode_file
from ecdc.codec.protocols import TokenSource
from ecdc.format import ChannelCoding, FormatError, Provenance, Reader
from ecdc.plugins.generators import GROUP, GeneratorError, generator, generators, write
from ecdc.plugins.musicgen import GREEDY, MusicGenSource, Options, open_source
from musicgen_models import tiny, write_codec, write_package

ROOT = Path(__file__).parent.parent.parent
STEREO = {"text_dimension": 768, "delays": (0, 0, 1, 1, 2, 2, 3, 3), "channels": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a mono and a stereo model with a codec beside them."""
    folders = []
    for changes in ({"text_dimension": 768}, STEREO):
        folder = tmp_path_factory.mktemp("model")
        write_codec(folder)
        write_package(tiny(**changes), folder / "state_dict.bin")
        folders.append(folder)
    return folders


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A package of somebody else's, with a generator and a broken one."""
    (tmp_path / "noise_codes.py").write_text("def open_source(model, codec=None, **options):\n    return model\n")
    info = tmp_path / "noise_codes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noise-codes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nnoise = noise_codes:open_source\nbroken = nowhere:open_source\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


def test_generators_of_installed_packages_are_found(foreign):
    assert {"noise", "broken"} <= generators().keys()
    assert generator("noise")("a model") == "a model"


def test_generators_that_are_not_there_are_named(foreign):
    with pytest.raises(GeneratorError, match=r"none-such: no such generator \(installed: .*noise"):
        generator("none-such")
    with pytest.raises(GeneratorError, match=r"broken: cannot be loaded \(nowhere:open_source\)"):
        generator("broken")


def test_musicgen_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    module, _, attribute = declared["musicgen"].partition(":")
    assert getattr(importlib.import_module(module), attribute) is open_source


@pytest.mark.parametrize("which", [0, 1], ids=["mono", "stereo"])
def test_what_is_generated_is_what_the_file_holds(models, which, tmp_path):
    source = open_source(models[which], seconds=0.3, seed=4)
    assert isinstance(source, TokenSource)
    stream, heard = io.BytesIO(), []
    header = write(source, stream, heard.append)
    codes = source.model.generate([None], Options(seconds=0.3), seeds=[4])
    read = Reader(io.BytesIO(stream.getvalue()))
    rows = torch.cat([codes[0, i :: which + 1] for i in range(which + 1)])  # the container wants one stream after the other
    assert np.array_equal(read.codes(), rows.numpy())
    assert header.provenance is Provenance.GENERATED and ("seed", "4") in header.tags
    assert header.channel_coding is (ChannelCoding.LEFT_RIGHT if which else ChannelCoding.MONO)
    assert sum(heard) == pytest.approx(codes.shape[2] / 50)
    (tmp_path / "made.ecdc").write_bytes(stream.getvalue())
    decode_file(tmp_path / "made.ecdc", tmp_path / "made.wav", source.model.codec)
    with AudioSource(tmp_path / "made.wav") as audio:
        wav = np.concatenate(list(audio.blocks()), axis=1)
    assert np.abs(wav - source.model.decode(codes)[0].clamp(-1, 1).numpy()).max() < 1e-3


def test_the_first_chunk_leaves_soon(models):
    """After a quarter of a second, the others after a second each."""
    source = open_source(models[0], seconds=2.1, sampling=GREEDY)
    stream, at = io.BytesIO(), []
    rate = write(source, stream, progress=lambda seconds: at.append(len(stream.getvalue()))).frame_rate
    stream.seek(0)
    first = math.ceil(rate / 4)
    assert [chunk.n_frames for chunk in Reader(stream)] == [first, round(rate), math.floor(2.1 * rate) - first - round(rate)]
    assert at[first - 1] > at[first - 2]


def test_a_continuation_holds_its_prompt(models):
    known = torch.arange(12).reshape(4, 3)
    source = open_source(models[0], seconds=0.21, prompt_codes=known, sampling=GREEDY)
    blocks = list(source.blocks())
    assert np.array_equal(blocks[0], known.numpy()) and [b.shape[1] for b in blocks] == [3] + [1] * 7
    assert all(b.dtype == np.uint16 for b in blocks)


def test_a_codec_of_choice_takes_the_place_of_the_own_one(models):
    own, other = (open_source(folder).model.codec for folder in models)
    source = open_source(models[0], codec=other)
    assert source.header().token_space == other.token_space
    assert own is not other


def test_an_interrupted_generation_leaves_no_whole_stream(models):
    class Interrupted(MusicGenSource):
        def blocks(self):
            for i, block in enumerate(super().blocks()):
                if i == 5:
                    raise KeyboardInterrupt
                yield block

    stream = io.BytesIO()
    with pytest.raises(KeyboardInterrupt):
        write(Interrupted(open_source(models[0]).model, options=Options(seconds=1)), stream)
    with pytest.raises(FormatError):
        Reader(io.BytesIO(stream.getvalue())).codes()
