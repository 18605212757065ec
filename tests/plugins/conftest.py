"""Lets these tests import their own helpers and the codec's, under any import mode."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from ecdc.cli.main import main
from ecdc.codec.checkpoints import save as save_codec
from ecdc.plugins.musicgen import checkpoint, model, model_folder, word_vectors

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "codec"), str(HERE.parent)]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def call_generate():
    """Call `ecdc generate ARGS`; checks the exit code and returns stderr."""

    def call(*args, stdin=b"", code=0):
        err, out = io.StringIO(), io.TextIOWrapper(io.BytesIO())
        with mock.patch.multiple(sys, stdin=SimpleNamespace(buffer=io.BytesIO(stdin)), stderr=err, stdout=out):
            try:
                main(["generate", *map(str, args)])
                found = 0
            except SystemExit as stop:
                found = stop.code or 0
        assert found == code, err.getvalue()
        assert "Traceback" not in err.getvalue()
        return err.getvalue()

    return call


@pytest.fixture
def folders(codec, tmp_path, monkeypatch):
    """A folder with a bundled generator of random weights and its bundled codec, which stand for all that is bundled."""
    from nano_models import nano, words

    model_folder.save(
        nano(codec=codec.config.name, token_space=codec.token_space.hex()).lm,
        tmp_path / "weights" / "musicgen-nano",
        dtype=torch.float32,
    )
    save_codec(codec, tmp_path / "codecs" / codec.config.name)
    for module in ("bundled", "checkpoints", "runtime"):
        monkeypatch.setattr(f"ecdc.codec.{module}.BUNDLED", tmp_path / "codecs")
    monkeypatch.setattr(model, "BUNDLED", tmp_path / "codecs")
    for module in (model_folder, checkpoint):
        monkeypatch.setattr(module, "BUNDLED", tmp_path / "weights")
    monkeypatch.setattr(word_vectors.WordEncoder, "load", words)
    return tmp_path
