"""Training: the losses are those of the model, a run learns and resumes to the bit, and what does not fit is refused."""

import dataclasses
import json
import math
import tomllib
from functools import partial

import numpy as np
import pytest
import torch
from ecdc.codec.config import ConfigError
from ecdc.plugins.musicgen import load
from ecdc.plugins.musicgen.lm import Conditions
from ecdc.plugins.musicgen.model_folder import save
from ecdc.train.data.packed_audio import EmptyData
from ecdc.train.engine.recipes import find_recipe, read_recipe
from ecdc.train.musicgen import trainer as training
from ecdc.train.musicgen.token_windows import Pieces, WindowRecipe
from ecdc.train.musicgen.trainer import MusicGenRecipe, MusicGenRun, draw_batch, losses, train_musicgen
from musicgen_models import V
from nano_models import FRAMES, KIND, RATE, nano, words

N, FRAMES_EACH = 10, 60
MODEL = nano(n_layers=1, ff_dimension=32).config
RECIPE = MusicGenRecipe(
    MODEL, WindowRecipe(batch_size=4, seconds=0.4), steps=12, warmup_steps=2, decay_steps=4, learning_rate=1e-2,
    validate_every=6, checkpoint_every=5, average_decay=0.9,
)  # fmt: skip
SPACE = bytes(range(32))


def caption(labels, rng):
    return rng.choice(["slow", "fast waltz", "90 bpm"]) + " " + labels["genre"]


@pytest.fixture
def folder(tmp_path):
    """Pieces that each repeat two bars of their own; odd ones are stereo."""
    rng = np.random.default_rng(0)
    codes = np.tile(rng.integers(0, V, (N, 2, 4, 5)).astype(np.uint16), (1, 1, 1, FRAMES_EACH // 5))
    codes[::2, 1] = 0
    np.save(tmp_path / "codes.npy", codes)
    np.save(tmp_path / "channels.npy", (1 + np.arange(N) % 2).astype(np.uint8))
    melody = rng.integers(0, 12, (N, 1 + FRAMES_EACH * RATE // FRAMES // 2048)).astype(np.uint8)
    melody[:, 4] = 255
    np.save(tmp_path / "melody.npy", melody)
    rows = [
        {"seed": i, "split": "valid" if i < 4 else "train", "labels": {"genre": f"g{i}", "tempo_bpm": 200 + i}}
        for i in range(N)
    ]
    (tmp_path / "pieces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def opened(folder, split="train", config=MODEL):
    return Pieces.open(folder, split, config, words(None), caption, 30)


def train(folder, output, recipe=RECIPE, **arguments):
    return train_musicgen(recipe, SPACE, words(None), caption, folder, output, report=lambda line: None, **arguments)


def test_losses_are_those_of_the_logits(folder):
    """By plain log-softmax over the model's own logits, row by row with its own conditions; gradients too."""
    lm, batch, weights = (
        nano(1).lm.requires_grad_(True),
        draw_batch(opened(folder, config=nano().config), RECIPE, 3),
        (1.0, 0.5, 0.25, 2),
    )
    assert 0 < int(batch.is_stereo.sum()) < 4 and bool((batch.text_lengths > 0).any())
    sums, cells = torch.zeros(4), 0
    for i in range(4):
        codes = batch.codes[i : i + 1] if batch.is_stereo[i] else batch.codes[i : i + 1, ::2]
        pattern = lm.pattern_of(codes.shape[1])
        shown = torch.arange(MODEL.text_tokens) < batch.text_lengths[i]
        prefix = lm.text(batch.texts[i : i + 1]) * shown[None, :, None]
        summary = lm.summary(batch.texts[i : i + 1].sum(dim=1))
        added = lm.embed_classes(batch.melody[i : i + 1]) + lm.embed_beats(batch.beats[i : i + 1])
        conditions = Conditions(prefix=prefix, added=added, summary=summary)
        p = lm(pattern.spread(codes)[..., :-1], conditions=conditions).log_softmax(dim=-1)
        channels = codes.shape[1] // 4
        for row, delay in enumerate(pattern.delays):
            own = p[0, row, delay : delay + 30].gather(1, codes[0, row, :, None])
            sums = sums - torch.nn.functional.one_hot(torch.tensor(row // channels), 4) * own.sum()
        cells += channels * 30
    expected = (sums / cells * torch.tensor(weights)).sum() / sum(weights)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in lm.named_parameters()}
    lm.zero_grad()
    loss, nats = losses(lm, batch, weights)
    loss.backward()
    assert torch.allclose(loss, expected, atol=1e-5) and torch.allclose(nats, sums.detach() / cells, atol=1e-5)
    for name, parameter in lm.named_parameters():
        wanted = gradients[name]
        assert torch.allclose(parameter.grad, wanted, atol=1e-5 * max(1.0, float(wanted.abs().max()))), name
    with torch.no_grad():
        assert torch.allclose(losses(lm, batch, weights)[0], loss)


def test_what_a_step_sees_depends_on_seed_and_step_alone(folder):
    pieces = opened(folder)
    first, again, other = (draw_batch(pieces, RECIPE, step) for step in (5, 5, 6))
    assert torch.equal(first.codes, again.codes) and torch.equal(first.texts, again.texts)
    assert not torch.equal(first.codes, other.codes)
    batches = [draw_batch(pieces, RECIPE, step) for step in range(100)]
    assert all(batch.is_stereo.tolist() == [False, True] * 2 for batch in batches)
    without = [float(torch.stack([x(batch) for batch in batches]).float().mean()) for x in (
        lambda batch: batch.text_lengths == 0, lambda batch: (batch.melody == -1).all(dim=1))]  # fmt: skip
    assert without == pytest.approx([1 - 0.85 * 0.95, 1 - 0.5 * 0.95], abs=0.06)
    told = [(batch.beats >= 0).all(dim=1) for batch in batches]
    assert float(torch.stack(told).float().mean()) == pytest.approx(0.81 / 3 + (0.95 - 0.81 / 3) / 4, abs=0.06)
    mono = batches[0].codes[0]
    assert (mono[1::2] == V).all() and (mono[::2] < V).all()


def test_a_forgotten_frame_is_predicted_but_not_heard(folder):
    """Another code in it changes nothing but its own nats."""
    recipe = dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, forgetful=1.0))
    batches = [draw_batch(opened(folder), recipe, step) for step in range(30)]
    rates = torch.cat([batch.heard.float().mean(dim=1) for batch in batches])
    assert rates.max() > 0.9 and 0.3 < (rates == 0).float().mean() < 0.7
    assert all(draw_batch(opened(folder), RECIPE, step).heard.all() for step in range(3))
    batch = next(batch for batch in batches if 0.3 < batch.heard[0].float().mean() < 0.7)
    lm = MusicGenRun(recipe).lm
    with torch.no_grad():
        lm.heads.weight.normal_()
        for heard in (False, True):
            t = int((batch.heard[0] == heard).nonzero()[3])
            codes = batch.codes.clone()
            codes[0, ::2, t] = (codes[0, ::2, t] + 1) % V
            hidden = [
                training._hidden(lm, dataclasses.replace(batch, codes=x), 0)[:, MODEL.text_tokens :]
                for x in (batch.codes, codes)
            ]
            assert torch.equal(*hidden) != heard


def test_a_run_learns_and_its_export_loads(folder, tmp_path):
    run = train(folder, tmp_path / "run", dataclasses.replace(RECIPE, steps=40, decay_steps=20, validate_every=40))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    nats = [rows[-1][f"codebook {k}"] for k in range(1, 5)]
    assert rows[-1]["step"] == 40 and max(nats) < 0.8 * np.log(V) and rows[-1]["columns_per_second"] > 0
    assert set(rows[-1]["valid"]) == {f"{kind}/codebook {k}/nats" for kind in ("conditions", "alone") for k in range(1, 5)}
    save(run.result, tmp_path / "model", folder / "channels.npy")
    model = load(tmp_path / "model", codec=False)
    assert model.config.token_space == SPACE.hex() and (tmp_path / "model" / "words.safetensors").exists()
    assert torch.equal(model.lm.norm.weight, run.result.norm.weight.half().float())


@pytest.mark.parametrize("changes", [{}, {"muon_learning_rate": 0.0, "average_decay": 0.0}], ids=["muon", "adamw"])
def test_a_resumed_run_is_the_unbroken_one(folder, tmp_path, changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    whole = train(folder, tmp_path / "whole", recipe)
    train(folder, tmp_path / "broken", recipe, max_seconds=0)
    assert MusicGenRun(dataclasses.replace(recipe, model=whole.recipe.model)).load(tmp_path / "broken")
    resumed = train(folder, tmp_path / "broken", recipe)
    assert resumed.step == whole.step == 12
    for a, b in ((whole.lm, resumed.lm), (whole.result, resumed.result)):
        assert all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_another_model_or_token_space_is_refused(folder, tmp_path):
    train(folder, tmp_path / "run", max_seconds=0)
    wider = dataclasses.replace(RECIPE, model=nano(n_layers=1, ff_dimension=48).config)
    with pytest.raises(ValueError, match="another model"):
        train(folder, tmp_path / "run", wider)
    with pytest.raises(ValueError, match="another model"):
        train_musicgen(RECIPE, bytes(32), words(None), caption, folder, tmp_path / "run")
    with pytest.raises(ValueError, match="another optimizer"):
        train(folder, tmp_path / "run", dataclasses.replace(RECIPE, muon_learning_rate=0.0))


def array(name, make):
    return lambda folder: np.save(folder / name, make(np.load(folder / name)))


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda folder: (folder / "codes.npy").unlink(), "codes.npy"),
        (lambda folder: (folder / "codes.npy").write_bytes(b"\x93NUMPY"), "codes.npy"),
        (lambda folder: np.save(folder / "codes.npy", np.array([{}]), allow_pickle=True), "codes.npy"),
        (array("codes.npy", lambda x: x.astype(np.int64)), r"must be uint16 \[any, 2, 4, any\], got int64"),
        (array("codes.npy", lambda x: x[:, :1]), r"got uint16 \[10, 1, 4, 60\]"),
        (array("codes.npy", lambda x: x[..., :20]), "shorter than windows of 30"),
        (array("codes.npy", lambda x: x + np.uint16(V)), "codes must lie below 64"),
        (array("channels.npy", lambda x: x[:4]), r"channels.npy: must be uint8 \[10\]"),
        (array("channels.npy", lambda x: x + np.uint8(1)), "1 and 2 only"),
        (array("melody.npy", lambda x: x[:, :3]), "3 chroma frames"),
        (array("melody.npy", lambda x: x + np.uint8(20)), "pitch classes below 12"),
        (lambda folder: (folder / "pieces.jsonl").write_text("{}\n"), "describes 1 pieces"),
        (lambda folder: (folder / "pieces.jsonl").write_text("{}\n" * N), "line 1 must have labels"),
        (lambda folder: (folder / "pieces.jsonl").write_text("[1\n" * N), "pieces.jsonl"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit_is_refused(folder, tmp_path, spoil, wrong):
    spoil(folder)
    with pytest.raises(EmptyData, match=wrong) as error:
        train(folder, tmp_path / "run", max_seconds=0)
    assert "\n" not in str(error.value)


def test_recipes(tmp_path):
    path = find_recipe("musicgen-nano")
    recipe = read_recipe(path, MusicGenRecipe)
    assert recipe.model.name == "musicgen-nano" and recipe.model.mono and not recipe.model.token_space
    assert recipe.data.seconds == recipe.model.max_seconds == 5
    with pytest.raises(ConfigError, match=r"none: no such recipe \(bundled: musicgen-nano, nano-24k,"):
        find_recipe("none")
    values = tomllib.loads(path.read_text())
    for change, wrong in ((("mono", False), "must be mono too"), (("text_tokens", 0), "text_tokens")):
        with pytest.raises(ConfigError, match=wrong):
            MusicGenRecipe.from_dict(values | {"model": values["model"] | dict([change])})
    for key, value in (("validate_every", 0), ("learning_rate", math.nan), ("betas", [0.9]), ("steps", -1)):
        with pytest.raises(ConfigError, match=key):
            MusicGenRecipe.from_dict(values | {key: value})
    with pytest.raises(ConfigError, match="batch_size"):
        MusicGenRecipe.from_dict(values | {"data": values["data"] | {"batch_size": 0}})
    with pytest.raises(ConfigError, match="one per codebook"):
        MusicGenRecipe.from_dict(values | {"codebook_weights": [1.0]})
    assert training.LOG_EVERY > 0 and KIND["mono"]


def test_weights_fit_into_the_package():
    """12 MB in float16, which is what the folder holds."""
    with torch.device("meta"):
        lm = type(nano().lm)(read_recipe(find_recipe("musicgen-nano"), MusicGenRecipe).model)
    assert 11e6 < 2 * sum(parameter.numel() for parameter in lm.parameters()) < 12e6


def test_a_run_that_is_killed_in_its_last_validation_keeps_its_steps(folder, tmp_path, step_after_a_kill):
    assert step_after_a_kill(MusicGenRun, partial(train, folder, tmp_path / "run")) == 2
