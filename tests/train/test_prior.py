"""Training the entropy prior: what is trained is what the integers compute; it learns; a resumed run is the unbroken one."""

import contextlib
import dataclasses
import json
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ecdc.codec.model import Codec
from ecdc.format.entropy.prior import read_prior
from ecdc.train.codec.codebooks import CodebookTrainer
from ecdc.train.data.memory_maps import sample_rate_of
from ecdc.train.data.packed_audio import PackedAudio
from ecdc.train.prior import trainer as prior_trainer
from ecdc.train.prior.trained_prior import TrainedPrior, exponentials
from ecdc.train.prior.trainer import PriorRecipe, train_prior

RECIPE = PriorRecipe(steps=40, batch_size=4, seconds=0.7, n_books=2, width=16, warmup_steps=4, token_hours=0.02)


def entries(n_codebooks, size, dimension):
    return [torch.randn(size, dimension) / max(1, dimension) ** 0.5 for _ in range(n_codebooks)]


@pytest.mark.parametrize("dimension", [0, 7])
def test_what_is_trained_is_what_the_integers_compute(dimension):
    torch.manual_seed(0)
    model = TrainedPrior(entries(4, 64, dimension), width=24, dilations=(1, 3, 8))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 3.0 if "bias" in name else 0.4)
    prior = model.export(bytes(32))
    codes = torch.randint(0, 64, (1, 3, 150))
    contexts = model.contexts(codes)
    for first, k, logits in prior.logits(codes[0].numpy().astype(np.uint16)):
        wanted = model.logits(contexts, codes, k)[0, first : first + len(logits)]
        assert np.array_equal(logits, wanted.detach().numpy())


def test_what_is_learned_is_what_files_take():
    torch.manual_seed(0)
    model = TrainedPrior(entries(3, 32, 5), width=16)
    codes = torch.randint(0, 32, (1, 3, 400))
    nats = model.loss(codes, [0, 1, 2]).sum().item() * 400
    size = len(model.export(bytes(32)).encode([codes[0].numpy().astype(np.uint16)]))
    assert abs(8 * size - nats / math.log(2)) < 0.002 * 8 * size + 80


def test_codes_with_like_entries_start_alike_and_as_likely_as_they_are():
    torch.manual_seed(0)
    books = entries(2, 8, 5)
    books[1][3] = books[1][4]
    model = TrainedPrior(books, width=16)
    for tables in (model.frame_embedding, model.book_embedding, model.head_weight):
        assert torch.equal(tables[1][3], tables[1][4]) and not torch.equal(tables[1][3], tables[1][5])
    model.start_from_counts(np.array([[[0, 0, 0, 1], [7, 7, 7, 7]]], np.uint16))
    assert model.head_bias[0].argmax() == 0 and model.head_bias[1].argmax() == 7
    assert torch.allclose((model.head_bias[0, 0] - model.head_bias[0, 1]).exp(), torch.tensor(2.0))


def test_a_prior_goes_on_from_its_integers_and_new_layers_begin_without_effect():
    torch.manual_seed(0)
    books, codes = entries(3, 32, 5), torch.randint(0, 32, (2, 3, 90))
    first = TrainedPrior(books, width=16, dilations=(1, 4))
    with torch.no_grad():
        for name, parameter in first.named_parameters():
            parameter.normal_(0, 3.0 if "bias" in name else 0.4)
    prior = first.export(bytes(32))
    same = TrainedPrior(books, width=16, dilations=(1, 4))
    same.start_from(prior)
    assert same.export(bytes(32)).hash == prior.hash
    deeper = TrainedPrior(books, width=16, dilations=(1, 1, 2, 4, 4))
    deeper.start_from(prior)
    assert torch.equal(deeper.contexts(codes), first.contexts(codes))
    deeper.loss(codes, [0, 1, 2]).sum().backward()
    assert (deeper.out_weight.grad.flatten(1).abs().amax(1) > 0).all()  # the new layers learn
    with pytest.raises(ValueError, match="dilations"):
        TrainedPrior(books, width=16, dilations=(4, 1)).start_from(prior)
    with pytest.raises(ValueError, match="must not be smaller"):
        TrainedPrior(books, width=8, dilations=(1, 4)).start_from(prior)
    with pytest.raises(ValueError, match="tables"):
        TrainedPrior(books[:2], width=16, dilations=(1, 4)).start_from(prior)


@pytest.mark.parametrize("n_dimensions", [5, 0])
def test_a_wider_prior_begins_like_the_one_that_it_starts_from(n_dimensions):
    torch.manual_seed(0)
    books, codes = entries(3, 32, n_dimensions), torch.randint(0, 32, (2, 3, 90))
    first = TrainedPrior(books, width=16, dilations=(1, 4))
    with torch.no_grad():
        for name, parameter in first.named_parameters():
            parameter.normal_(0, 3.0 if "bias" in name else 0.4)
    wider = TrainedPrior(books, width=24, dilations=(1, 4))
    wider.start_from(first.export(bytes(32)))
    narrow, wide = first.export(bytes(32)), wider.export(bytes(32))
    rows = codes[0].numpy().astype(np.uint16)
    assert narrow.encode([rows]) == wide.encode([rows])
    wider.loss(codes, [0, 1, 2]).sum().backward()
    read = [wider.mix_now.grad[:, 16:], wider.head_mix.grad[:, 16:], wider.head_weight.own.grad[..., 16:]]  # of new inputs
    assert all((gradient.flatten(1).abs().amax(1) > 0).all() for gradient in read)


def test_exponentials_fall_by_the_same_share():
    table = exponentials()
    assert table[0] == 2**16 and abs(table[32] - 2**16 / math.e) < 1 and (np.diff(table) <= 0).all()


@pytest.fixture
def codec(recipe, packed):
    torch.manual_seed(0)
    codec = Codec(recipe.codec)
    trainer = CodebookTrainer(codec.quantizer)
    vectors = codec.encoder(torch.randn(4, 1, 48_000)).transpose(1, 2).flatten(0, 1).detach()
    trainer.start(vectors, torch.Generator().manual_seed(0), 2)
    return codec.eval()


def run(codec, packed, folder, recipe=RECIPE, report=lambda line: None, **options):
    return train_prior(recipe, codec, packed, folder, report=report, **options)


def test_a_resumed_run_is_the_unbroken_one(codec, packed, tmp_path, monkeypatch, interrupted_at):
    recipe = dataclasses.replace(RECIPE, steps=12)
    unbroken = run(codec, packed, tmp_path / "unbroken", recipe)
    monkeypatch.setattr(prior_trainer, "SAVE_EVERY", 5)
    with interrupted_at(prior_trainer.PriorRun, 7):
        assert run(codec, packed, tmp_path / "broken", recipe).step == 7
    lines = []
    resumed = run(codec, packed, tmp_path / "broken", recipe, report=lines.append)
    assert resumed.step == unbroken.step == recipe.steps and "resumed at step 7" in lines
    for (name, a), b in zip(unbroken.prior.named_parameters(), resumed.prior.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_it_learns_and_its_file_codes(codec, packed, tmp_path):
    found = run(codec, packed, tmp_path)
    bits = np.mean([row for rows in found.validate(clips(codec, packed)).values() for row in rows])
    assert bits < 4.9  # of 5
    path = tmp_path / "tiny.prior"
    found.prior.export(codec.token_space).save(path)
    prior = read_prior(path)
    assert prior.token_space == codec.token_space
    codes = next(iter(clips(codec, packed).values()))[0]
    assert np.array_equal(prior.decode(prior.encode([codes]), (len(codes),), codes.shape[1])[0], codes)


def test_a_run_starts_from_a_prior_of_its_own_tokens(codec, packed, tmp_path):
    prior = run(codec, packed, tmp_path / "first", dataclasses.replace(RECIPE, steps=8)).prior.export(codec.token_space)
    onwards = run(codec, packed, tmp_path / "second", max_seconds=0.0, init=prior).prior.export(codec.token_space)
    weights = [(prior.arrays[name].astype(int), onwards.arrays[name]) for name in ("book_embedding", "mix_past", "head_weight")]
    assert all(abs(before - after).max() <= 1 for before, after in weights)  # one step later
    codec.quantizer.codebooks += 1
    with pytest.raises(ValueError, match="other tokens"):
        run(codec, packed, tmp_path / "third", init=prior)


def test_a_network_of_another_size_is_refused(codec, packed, tmp_path):
    run(codec, packed, tmp_path, max_seconds=0.0)
    wider = dataclasses.replace(RECIPE, width=24)
    with pytest.raises(ValueError, match="another size"):
        run(codec, packed, tmp_path, wider)


def clips(codec, packed):
    return {
        group: prior_trainer.encode_all_codebooks(codec, wav, 24_000)
        for group, wav in prior_trainer.validation_clips(packed, seconds=2.0, per_group=2).items()
    }


def test_another_token_space_is_refused(codec, packed, tmp_path):
    run(codec, packed, tmp_path, max_seconds=0.0)
    codec.quantizer.codebooks += 1
    with pytest.raises(ValueError, match="another token space"):
        run(codec, packed, tmp_path)


def test_tokens_that_were_not_written_whole_are_made_again(codec, packed, tmp_path, monkeypatch):
    def tokens(hours):
        data = PackedAudio.open(packed, "train", round(prior_trainer.WINDOW_SECONDS * sample_rate_of(packed)))
        return prior_trainer.cached_tokens(codec, data, hours, tmp_path, lambda line: None)

    def interrupted(file, codes, allow_pickle):
        with open(file, "wb") if isinstance(file, Path) else contextlib.nullcontext(file) as target:
            target.write(b"a half")
        raise KeyboardInterrupt

    whole = np.array(tokens(0.01))
    monkeypatch.setattr(prior_trainer, "encode_all_codebooks", lambda codec, audio, rate: whole)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "save", interrupted)
        tokens(0.02)
    assert np.array_equal(tokens(0.01), whole)
    for name in ("tokens.npy", "tokens.npy.json"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
        assert np.array_equal(tokens(0.01), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.npy", "tokens.npy.json"]


def test_tokens_of_other_audio_are_made_again(codec, packed, tmp_path):
    """Also in the same folder; a folder that has only moved is the same audio."""
    lines, audio = [], tmp_path / "audio"

    def tokens():
        data = PackedAudio.open(audio, "train", round(prior_trainer.WINDOW_SECONDS * sample_rate_of(audio)))
        return np.array(prior_trainer.cached_tokens(codec, data, 0.01, tmp_path, lines.append))

    shutil.copytree(packed, audio)
    first = tokens()
    audio = audio.rename(tmp_path / "moved")
    assert np.array_equal(tokens(), first) and len(lines) == 1  # of the first time
    for path in audio.glob("*.train.i16"):
        path.write_bytes(np.roll(np.fromfile(path, "<i2"), 24_000).tobytes())
    rows = [json.loads(line) for line in (audio / "index.jsonl").read_text().splitlines()]
    (audio / "index.jsonl").write_text("".join(json.dumps(row | {"name": f"other {row['name']}"}) + "\n" for row in rows))
    assert not np.array_equal(tokens(), first) and "is of other audio" in lines[1]


def test_a_run_that_is_killed_in_its_last_validation_keeps_its_steps(codec, packed, tmp_path, step_after_a_kill):
    assert step_after_a_kill(prior_trainer.PriorRun, partial(run, codec, packed, tmp_path)) == 2
