"""Training the flows of a diffusion decoder: they learn; a resumed run is the unbroken one; other tokens are refused."""

import copy
import dataclasses
import json
from functools import partial

import pytest
import torch
from ecdc.codec.config import ConfigError
from ecdc.codec.diffusion.flow import FlowConfig
from ecdc.codec.model import Codec
from ecdc.train.codec.codebooks import CodebookTrainer
from ecdc.train.data.recipe import DataRecipe
from ecdc.train.engine.recipes import find_recipe, read_recipe
from ecdc.train.mbd import trainer as mbd_trainer
from ecdc.train.mbd.trainer import MbdRecipe, train_mbd

FLOW = FlowConfig(hop_length=160, dimension=16, n_blocks=2, edges=(0, 40, 160), width=16, depth=1, steps=2)
RECIPE = MbdRecipe(
    flow=FLOW,
    data=DataRecipe(batch_size=4, seconds=0.4),
    steps=10,
    warmup_steps=2,
    decay_steps=4,
    learning_rate=4e-3,
    muon_learning_rate=0.01,
    codebooks=(1, 2, 3),
    validate_every=10,
    checkpoint_every=4,
)


@pytest.fixture
def codec(recipe):
    torch.manual_seed(0)
    codec = Codec(recipe.codec)
    trainer = CodebookTrainer(codec.quantizer)
    vectors = codec.encoder(torch.randn(4, 1, 48_000)).transpose(1, 2).flatten(0, 1).detach()
    trainer.start(vectors, torch.Generator().manual_seed(0), 2)
    return codec.ready()


def run(codec, packed, folder, recipe=RECIPE, report=lambda line: None, **options):
    return train_mbd(recipe, codec, packed, folder, report=report, **options)


def test_it_learns(codec, packed, tmp_path, monkeypatch):
    """On one batch again and again: others differ by more than forty steps gain."""
    draw = mbd_trainer.MbdRun.draw
    monkeypatch.setattr(mbd_trainer.MbdRun, "draw", lambda self, data, step: draw(self, data, 0))
    monkeypatch.setattr(mbd_trainer, "LOG_EVERY", 10)
    run(codec, packed, tmp_path, dataclasses.replace(RECIPE, steps=40, decay_steps=8, validate_every=1000))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["mel_log"] < 0.95 * rows[0]["mel_log"]


def test_a_resumed_run_is_the_unbroken_one(codec, packed, tmp_path, interrupted_at):
    unbroken = run(codec, packed, tmp_path / "unbroken")
    with interrupted_at(mbd_trainer.MbdRun, 6):
        assert run(codec, packed, tmp_path / "broken").step == 6
    lines = []
    resumed = run(codec, packed, tmp_path / "broken", report=lines.append)
    assert resumed.step == unbroken.step == RECIPE.steps and "resumed at step 6" in lines
    for networks in ("flow", "average"):
        pairs = zip(getattr(unbroken, networks).parameters(), getattr(resumed, networks).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("", "steps", -1), ("", "learning_rate", float("nan")), ("", "clip_norm", 0.0), ("", "first_share", 1.0),
        ("", "average_decay", 1.5), ("", "codebooks", []), ("", "codebooks", [0]), ("", "windows", [0]), ("", "seed", -1),
        ("", "validate_every", 0), ("", "checkpoint_every", 0), ("", "weight_decay", float("inf")), ("losses", "level", -1.0),
        ("losses", "flow", float("nan")), ("losses", "lavel", 1.0), ("data", "batch_size", 0), ("flow", "spread", float("nan")),
    ],
)  # fmt: skip
def test_a_number_in_a_recipe_that_cannot_be_is_named(part, key, value):
    values = copy.deepcopy(RECIPE.to_dict())
    (values[part] if part else values)[key] = value
    with pytest.raises(ConfigError, match=key):
        MbdRecipe.from_dict(values)


def test_the_bundled_recipe_reads_and_writes_back():
    recipe = read_recipe(find_recipe("nano-24k-mbd"), MbdRecipe)
    assert MbdRecipe.from_dict(recipe.to_dict()) == recipe


def test_another_token_space_is_refused(codec, packed, tmp_path):
    run(codec, packed, tmp_path, max_seconds=0.0)
    codec.quantizer.codebooks += 1
    with pytest.raises(ValueError, match="another token space"):
        run(codec, packed, tmp_path)


def test_a_run_starts_from_the_weights_it_is_given(codec, packed, tmp_path, monkeypatch):
    first = run(codec, packed, tmp_path / "first").average
    seen = []
    monkeypatch.setattr(mbd_trainer, "take_steps", lambda run, *rest: seen.append(copy.deepcopy(run.flow)))
    run(codec, packed, tmp_path / "again", init=first)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), seen[0].parameters(), strict=True))
    other = dataclasses.replace(RECIPE, flow=dataclasses.replace(FLOW, width=24))
    with pytest.raises(ValueError, match="not the one that the recipe describes"):
        run(codec, packed, tmp_path / "other", other, init=first)


def test_losses_of_auditory_bands_are_computed_where_they_have_a_weight(codec, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(mbd_trainer, "LOG_EVERY", 1)
    recipe = dataclasses.replace(RECIPE, steps=1, losses=RECIPE.losses | {"tile": 0.1, "loudness": 0.3})
    run(codec, packed, tmp_path / "with", recipe)
    run(codec, packed, tmp_path / "without", dataclasses.replace(RECIPE, steps=1))
    rows = [json.loads((tmp_path / name / "metrics.jsonl").read_text()) for name in ("with", "without")]
    assert {"tile", "loudness"} <= set(rows[0]) and not {"tile", "loudness"} & set(rows[1])


def test_a_run_that_is_killed_in_its_last_validation_keeps_its_steps(codec, packed, tmp_path, step_after_a_kill):
    assert step_after_a_kill(mbd_trainer.MbdRun, partial(run, codec, packed, tmp_path)) == 2
