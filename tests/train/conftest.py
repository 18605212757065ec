"""A second of training needs a little audio: chirps over noise, packed as `ecdc train fetch` packs it."""

import contextlib
import signal

import numpy as np
import pytest
import soundfile
from ecdc.codec.config import CodecConfig, HybridConfig
from ecdc.train.codec.recipe import Recipe
from ecdc.train.data.pack import pack_sources
from ecdc.train.data.recipe import DataRecipe
from ecdc.train.data.sources import folder_sources


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A packed folder of 60 short files; their names put some into the validation slice."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    time = np.arange(24_000) / 24_000
    for i in range(60):
        chirp = 0.3 * np.sin(2 * np.pi * (200 + 40 * i + 300 * time) * time)
        soundfile.write(folder / f"{i}.wav", chirp + 0.02 * rng.standard_normal(len(time)), 24_000)
    output = tmp_path_factory.mktemp("packed")
    pack_sources(folder_sources(folder), output, report=lambda line: None)
    return output


@pytest.fixture(scope="session")
def recipe():
    """A codec of a few thousand parameters that learns in seconds."""
    architecture = HybridConfig(
        hop_length=160, low_bins=16, encoder_width=16, encoder_depth=1, decoder_width=16, decoder_depth=1
    )
    codec = CodecConfig(
        name="tiny", architecture=architecture, dimension=16, n_codebooks=3, codebook_size=32, bitrates_kbps=(0.75, 1.5, 2.25)
    )
    return Recipe(
        codec=codec,
        data=DataRecipe(batch_size=4, seconds=0.4),
        steps=30,
        warmup_steps=3,
        decay_steps=10,
        kmeans_seconds=8.0,
        dropout_codebooks=(1, 2),
        validate_every=30,
        checkpoint_every=10,
        bfloat16_blocks=False,
    )


@pytest.fixture
def interrupted_at(monkeypatch):
    """A context in which SIGINT arrives at the end of a step. `owner` is the class or module that has `train_step`."""

    @contextlib.contextmanager
    def interrupt(owner, step):
        whole = owner.train_step

        def interrupted(run, batch):
            losses = whole(run, batch)
            if run.step == step:
                signal.raise_signal(signal.SIGINT)
            return losses

        with monkeypatch.context() as patch:
            patch.setattr(owner, "train_step", interrupted)
            yield

    return interrupt


@pytest.fixture
def step_after_a_kill(monkeypatch):
    """The step at which a run ends that takes one step, dies in its last validation, and is started for one more."""

    def kill(owner, train):
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(owner, "validate", lambda *rest: 1 / 0)
            train(max_seconds=0)
        return train(max_seconds=0).step

    return kill


@pytest.fixture
def drawn_curves():
    """For a test that wants the picture of the curves itself."""


@pytest.fixture(autouse=True)
def undrawn_curves(request, monkeypatch):
    """Elsewhere, curves are plotted and not rendered, which would take longer than the steps."""
    if "drawn_curves" not in request.fixturenames:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: path.write_bytes(b""))
