"""The training loop: it learns, its codebooks live, and an interrupted run is the unbroken one."""

import contextlib
import dataclasses
import json
import shutil
from functools import partial

import pytest
import torch
from ecdc.codec.checkpoints import load
from ecdc.codec.config import ConfigError
from ecdc.codec.model import Codec
from ecdc.train.codec import loop, step
from ecdc.train.codec.checkpoints import export_model, save_checkpoint
from ecdc.train.codec.recipe import AdversaryRecipe, Recipe
from ecdc.train.codec.step import draw_audio
from ecdc.train.data.packed_audio import EmptyData, generator_for
from ecdc.train.engine import checkpoints, metrics
from ecdc.train.engine.recipes import find_recipe, read_recipe

ADVERSARY = AdversaryRecipe(windows=(64, 256), bands=3, width=8, alone_steps=5, ramp_steps=10)


def train(recipe, packed, folder, report=lambda line: None, **options):
    return loop.train(recipe, packed, folder, report=report, **options)


def weights(run):
    """Everything that a step changes, by name."""
    adversary = run.adversary.state_dict() if run.adversary else {}
    return {
        **run.codec.state_dict(),
        **{f"codebooks.{k}": v for k, v in run.codebooks.state_dict().items()},
        **{f"average.{k}": v for k, v in run.average.items()},
        **{f"adversary.{k}": v for k, v in adversary.items()},
        **{f"balancer.{k}": v for k, v in run.balancer.state_dict().items()},
    }


def test_loss_falls_and_codebooks_live(recipe, packed, tmp_path, monkeypatch):
    """On one batch again and again: others differ by more than forty steps gain. Codebooks alone gain five percent."""
    monkeypatch.setattr(loop, "LOG_EVERY", 10)
    monkeypatch.setattr(loop, "draw_audio", lambda recipe, data, step: draw_audio(recipe, data, 0))
    train(dataclasses.replace(recipe, steps=40, validate_every=100, learning_rate=1e-2), packed, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["total"] < 0.9 * rows[0]["total"]
    assert min(rows[-1]["valid"]["perplexity"]) > 8


@pytest.mark.parametrize(("stop_at", "adversarial"), [(1, False), (4, False), (7, True)])
def test_resumed_run_equals_unbroken_run(recipe, packed, tmp_path, monkeypatch, interrupted_at, stop_at, adversarial):
    monkeypatch.setattr(loop, "METRIC_BATCHES", 2)
    recipe = dataclasses.replace(recipe, metric_steps=(2, 8), steps=10, decay_steps=4, checkpoint_every=3)
    if adversarial:
        adversary = dataclasses.replace(ADVERSARY, alone_steps=2, ramp_steps=6)
        recipe = dataclasses.replace(recipe, adversary=adversary, average_decay=0.9, muon_learning_rate=0.01)
    unbroken = train(recipe, packed, tmp_path / "unbroken")
    with interrupted_at(loop, stop_at):
        assert train(recipe, packed, tmp_path / "broken").step == stop_at
    lines = []
    resumed = train(recipe, packed, tmp_path / "broken", lines.append)
    assert resumed.step == unbroken.step == recipe.steps and lines[0] == f"resumed at step {stop_at}"
    for name, value in weights(unbroken).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_failed_checkpoint_leaves_the_last_one(recipe, packed, tmp_path, monkeypatch):
    run = train(dataclasses.replace(recipe, steps=1), packed, tmp_path)
    before = (tmp_path / checkpoints.NAME).read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    with pytest.raises(OSError):
        save_checkpoint(run, tmp_path)
    assert (tmp_path / checkpoints.NAME).read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


@pytest.fixture(scope="module")
def six_steps(recipe, packed, tmp_path_factory):
    """A recipe of six steps, its finished run, and the folder of that."""
    recipe = dataclasses.replace(recipe, steps=6, checkpoint_every=2)
    folder = tmp_path_factory.mktemp("six")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        return recipe, train(recipe, packed, folder), folder


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(six_steps, packed, tmp_path, monkeypatch, damage):
    """The run goes on from there, to the same end; without a whole one it says so and does not start anew."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe, unbroken, folder = six_steps
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    last, before = tmp_path / checkpoints.NAME, tmp_path / checkpoints.PREVIOUS
    whole = last.read_bytes()
    if damage == "missing":
        last.unlink()
    else:
        last.write_bytes({"truncated": whole[:-1], "empty": b"", "text": b"{}" * 100}[damage])
    kill = tmp_path / f".{checkpoints.NAME}.0123abcd.partial"
    kill.write_bytes(b"of a process that was killed")
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 7, "tot')  # torn
    expected = contextlib.nullcontext() if damage == "missing" else pytest.warns(UserWarning, match="is damaged; continuing")
    with expected:
        resumed = train(recipe, packed, tmp_path)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(unbroken).items())
    assert [row["step"] for row in metrics.read_rows(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert checkpoints.read_run_info(last)["step"] == 6 and checkpoints.read_run_info(before)["step"] == 4 and not kill.exists()
    for path in (last, before):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is damaged, and there is no intact checkpoint before it"):
        train(recipe, packed, tmp_path)


@pytest.mark.parametrize("torn", [b"", b"{", b'{"step": 3, "total": 1', b"\0" * 5000, b"\xff\xfe{"])
def test_metrics_survive_a_torn_line(tmp_path, torn):
    for step_ in (1, 2):
        metrics.log_row(tmp_path, {"step": step_})
    path = tmp_path / metrics.NAME
    path.write_bytes(path.read_bytes() + torn)
    assert [row["step"] for row in metrics.read_rows(tmp_path)] == [1, 2]
    metrics.log_row(tmp_path, {"step": 3})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
    metrics.log_row(tmp_path, {"step": 2, "again": 1})
    assert metrics.read_rows(tmp_path) == [{"step": 1}, {"step": 2, "again": 1}]


def test_checkpoint_of_another_codec_is_refused(recipe, packed, tmp_path):
    train(dataclasses.replace(recipe, steps=1), packed, tmp_path)
    other = dataclasses.replace(recipe, codec=dataclasses.replace(recipe.codec, dimension=24))
    with pytest.raises(ValueError, match="another codec"):
        train(other, packed, tmp_path)


def test_checkpoint_of_another_optimizer_or_kind_of_run_is_refused(recipe, packed, tmp_path):
    short = dataclasses.replace(recipe, steps=1)
    run = train(short, packed, tmp_path / "a")
    with pytest.raises(ValueError, match="another optimizer"):
        train(dataclasses.replace(short, muon_learning_rate=0.02), packed, tmp_path / "a")
    checkpoints.write_checkpoint(tmp_path / "a", run.codec.state_dict(), {"step": 1, "token_space": "of a prior"})
    with pytest.raises(ValueError, match="is not a checkpoint of a codec"):
        train(short, packed, tmp_path / "a")


def test_an_average_may_begin_later(recipe, packed, tmp_path):
    first = train(dataclasses.replace(recipe, steps=2), packed, tmp_path)
    weights = {name: value.clone() for name, value in first.codec.named_parameters()}
    later = train(dataclasses.replace(recipe, steps=2, average_decay=0.9), packed, tmp_path)
    assert later.average.keys() == weights.keys()
    assert all(torch.equal(later.average[name], value) for name, value in weights.items())


def test_a_run_starts_at_the_weights_of_a_model(recipe, packed, tmp_path):
    first = train(dataclasses.replace(recipe, steps=4), packed, tmp_path / "first")
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


def test_frozen_tokens_stay_and_the_decoder_learns(recipe, packed, tmp_path):
    recipe = dataclasses.replace(recipe, steps=4)
    first = train(recipe, packed, tmp_path / "first")
    second = dataclasses.replace(recipe, frozen_tokens=True, adversary=ADVERSARY, average_decay=0.9)
    trained = train(second, packed, tmp_path / "second", init=first.codec)
    before, after = first.codec.state_dict(), trained.codec.state_dict()
    assert trained.codec.token_space == first.codec.token_space
    for name in before:
        assert torch.equal(before[name], after[name]) == (not name.startswith("decoder.")), name
    with pytest.raises(ValueError, match="tokens stay as they are; name that model"):
        train(second, packed, tmp_path / "third")
    with pytest.raises(ValueError, match="checkpoint of another adversary"):
        train(dataclasses.replace(second, adversary=None), packed, tmp_path / "second", init=first.codec)


def test_the_exported_model_has_the_averaged_weights(recipe, packed, tmp_path):
    run = train(dataclasses.replace(recipe, average_decay=0.95, steps=4), packed, tmp_path / "run")
    export_model(run, tmp_path / "model")
    exported = load(tmp_path / "model")
    name = "decoder.out.weight"
    current, average = run.codec.state_dict()[name], run.average[name]
    assert not torch.equal(current, average)
    assert torch.equal(exported.state_dict()[name], average.half().float())


def test_micro_batches_give_the_gradient_of_the_whole(recipe, packed, tmp_path):
    """But for rounding: the sums are taken in another order."""
    runs = [
        train(
            dataclasses.replace(recipe, steps=3, data=dataclasses.replace(recipe.data, micro_batches=n)),
            packed,
            tmp_path / str(n),
        )
        for n in (1, 4)
    ]
    whole, parts = (run.codec.state_dict() for run in runs)
    assert all(torch.allclose(whole[name], parts[name], atol=2e-4) for name in whole)
    with pytest.raises(ValueError, match="cannot be divided into 3 micro batches"):
        train(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, micro_batches=3)), packed, tmp_path / "3")


@pytest.mark.usefixtures("drawn_curves")
def test_validation_leaves_curves_and_audio(recipe, packed, tmp_path):
    train(dataclasses.replace(recipe, steps=2), packed, tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    names = sorted(path.name for path in (tmp_path / "examples").iterdir())
    assert names[:3] == ["data-0-1-codebooks.flac", "data-0-3-codebooks.flac", "data-0-original.flac"]


def test_empty_data_is_refused(recipe, tmp_path):
    with pytest.raises(EmptyData, match="no packed audio"):
        train(recipe, tmp_path, tmp_path / "out")


def test_bundled_recipe_reads_and_writes_back():
    recipe = read_recipe(find_recipe("nano-24k"), Recipe)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [("speed = 3\n[codec]", "unknown key 'speed'"), ("steps = 'many'\n[codec]", "expected int"), ("steps = ", "Invalid value")],
)
def test_wrong_recipe_is_named(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(path, Recipe)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("", "validate_every", 0), ("", "checkpoint_every", 0), ("", "steps", -1), ("", "learning_rate", float("nan")),
        ("", "betas", [0.9]), ("", "dropout_codebooks", []), ("", "dropout_codebooks", [0]), ("", "validated_codebooks", [0]),
        ("", "average_decay", 1.5), ("data", "batch_size", 0), ("data", "seconds", float("nan")), ("data", "seconds", -1.0),
        ("data", "seconds", 0.01), ("data", "weights", {"music": -1.0}), ("data", "gain_db", [1.0]), ("losses", "windows", []),
        ("losses", "mel_log", float("inf")), ("adversary", "width", 0),
    ],
)  # fmt: skip
def test_a_number_in_a_recipe_that_cannot_be_is_named(recipe, part, key, value):
    values = dataclasses.replace(recipe, adversary=ADVERSARY).to_dict()
    (values[part] if part else values)[key] = value
    with pytest.raises(ConfigError, match=key):
        Recipe.from_dict(values)


def test_learning_rate_warms_up_stays_and_decays(recipe):
    shares = [step.learning_rate_share(recipe, at) for at in range(recipe.steps)]
    assert shares[0] < shares[2] == shares[19] == 1 > shares[-1] > 0


def test_each_step_has_other_signs(recipe):
    architecture = dataclasses.replace(recipe.codec.architecture, random_sign_bin=4)
    codec = Codec(dataclasses.replace(recipe.codec, architecture=architecture))
    frames = [step.decoder_state(codec, 2, generator_for(0, i)).first_frame for i in range(3)]
    assert len(set(frames)) == 3
    assert step.decoder_state(Codec(recipe.codec), 2, generator_for(0, 0)) is None


def test_a_run_that_is_killed_in_its_last_validation_keeps_its_steps(recipe, packed, tmp_path, step_after_a_kill):
    assert step_after_a_kill(loop, partial(train, recipe, packed, tmp_path)) == 2
