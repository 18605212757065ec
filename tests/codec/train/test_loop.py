"""The training loop: it learns, its codebooks live, and an interrupted run is the unbroken one."""

import dataclasses
import json

import pytest
import torch
from ecdc.codec.config import ConfigError
from ecdc.codec.train import loop, store
from ecdc.codec.train.data import EmptyData
from ecdc.codec.train.recipe import Recipe, find_recipe, read_recipe


def train(recipe, packed, folder, **options):
    return loop.train(recipe, packed, folder, report=lambda line: None, **options)


def weights(run):
    return {**run.codec.state_dict(), **{f"codebooks.{k}": v for k, v in run.codebooks.state_dict().items()}}


def test_loss_falls_and_codebooks_live(recipe, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 20)
    train(dataclasses.replace(recipe, steps=200, validate_every=200, learning_rate=4e-3), packed, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["total"] < 0.93 * rows[0]["total"]
    assert min(rows[-1]["valid"]["perplexity"]) > 8


@pytest.mark.parametrize("stop_at", [1, 10, 17])
def test_resumed_run_equals_unbroken_run(recipe, packed, tmp_path, monkeypatch, stop_at):
    unbroken = train(recipe, packed, tmp_path / "unbroken")
    step = loop.train_step

    def interrupted(run, batch):
        losses = step(run, batch)
        if run.step == stop_at:
            loop.signal.raise_signal(loop.signal.SIGINT)
        return losses

    monkeypatch.setattr(loop, "train_step", interrupted)
    assert train(recipe, packed, tmp_path / "broken").step == stop_at
    monkeypatch.setattr(loop, "train_step", step)
    resumed = train(recipe, packed, tmp_path / "broken")
    assert resumed.step == unbroken.step == recipe.steps
    for name, value in weights(unbroken).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_failed_checkpoint_leaves_the_last_one(recipe, packed, tmp_path, monkeypatch):
    run = train(recipe, packed, tmp_path)
    before = (tmp_path / store.NAME).read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_file", full_disk)
    with pytest.raises(OSError):
        store.save_checkpoint(run, tmp_path)
    assert (tmp_path / store.NAME).read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_checkpoint_of_another_codec_is_refused(recipe, packed, tmp_path):
    train(recipe, packed, tmp_path)
    other = dataclasses.replace(recipe, codec=dataclasses.replace(recipe.codec, dimension=24))
    with pytest.raises(ValueError, match="another codec"):
        train(other, packed, tmp_path)


def test_a_run_starts_at_the_weights_of_a_model(recipe, packed, tmp_path):
    first = train(recipe, packed, tmp_path / "first")
    untouched = dataclasses.replace(recipe, steps=0)
    begun = train(untouched, packed, tmp_path / "second", init=first.codec)
    assert all(
        torch.equal(a, b) for a, b in zip(begun.codec.state_dict().values(), first.codec.state_dict().values(), strict=True)
    )
    assert begun.codebooks.started and begun.step == 0
    train(dataclasses.replace(recipe, steps=3), packed, tmp_path / "second", init=first.codec)
    other = dataclasses.replace(recipe, codec=dataclasses.replace(recipe.codec, dimension=24))
    with pytest.raises(ValueError, match="not the codec that the recipe describes"):
        train(other, packed, tmp_path / "third", init=first.codec)


def test_empty_data_is_refused(recipe, tmp_path):
    with pytest.raises(EmptyData, match="no packed audio"):
        train(recipe, tmp_path, tmp_path / "out")


def test_bundled_recipe_reads_and_writes_back():
    recipe = read_recipe(find_recipe("nano-24k"))
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [("speed = 3\n[codec]", "unknown key 'speed'"), ("steps = 'many'\n[codec]", "expected int"), ("steps = ", "Invalid value")],
)
def test_wrong_recipe_is_named(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(path)


def test_learning_rate_warms_up_stays_and_decays(recipe):
    rates = [loop.learning_rate_at(recipe, step) for step in range(recipe.steps)]
    assert rates[0] < rates[2] == rates[19] == recipe.learning_rate > rates[-1] > 0
