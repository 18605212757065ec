"""Training a split codec: levels in closed loop, dropout of both kinds of codebooks, lost frames, resuming."""

import dataclasses
import json

import pytest
import torch
from ecdc.codec.config import CodecConfig, ConfigError, SplitConfig
from ecdc.codec.model import Codec
from ecdc.codec.modules.levels import LevelVQ
from ecdc.codec.modules.noise import frame_noise
from ecdc.train.codec import codebooks, latent_basis, loop, split_step
from ecdc.train.codec.attacks import attack_loss
from ecdc.train.codec.losses import tile_loss
from ecdc.train.codec.loudness import loudness_loss
from ecdc.train.codec.recipe import LossRecipe, Recipe
from ecdc.train.codec.step import draw_audio, row_samples, start_codebooks
from ecdc.train.data.packed_audio import PackedAudio
from ecdc.train.engine.recipes import find_recipe, read_recipe


@pytest.fixture
def split_recipe(recipe):
    """A split codec of a few thousand parameters at the packed audio's rate."""
    architecture = SplitConfig(
        core_factor=1, hop_length=480, top_bands=0, low_bins=24, encoder_width=16, encoder_depth=1, decoder_width=16,
        decoder_depth=1, level_taps=2, level_places=(0, 2),
    )  # fmt: skip
    rates = (0.2, 0.4, 0.6, 0.8)
    codec = CodecConfig("tiny", architecture, dimension=24, n_codebooks=4, codebook_size=16, bitrates_kbps=rates)
    return dataclasses.replace(
        recipe, codec=codec, free_order=True, lost_share=0.5, losses=LossRecipe(tile=0.01, level_code=0.003, windows_per_step=2)
    )


def train(recipe, packed, folder, init=None):
    return loop.train(recipe, packed, folder, report=lambda line: None, init=init)


def quantizer():
    torch.manual_seed(0)
    found = LevelVQ(2, 16, 6, 3, torch.tensor([0.5, 0.5, 1.0, 1.0, 1.0, 2.0]))
    found.codebooks.normal_(0, 5)
    return found


def test_training_tracks_levels_as_inference_does(monkeypatch):
    monkeypatch.setattr(codebooks, "has_bfloat16", lambda: False)  # the products of training are those of inference then
    levels, found = 8 * torch.randn(3, 20, 6) - 60, quantizer()
    coded = split_step.code_levels(found, levels)
    assert float((coded.codes == found.encode(levels, found.initial_codes(3))[0]).float().mean()) > 0.99
    entries = found.entries(coded.codes)
    assert torch.allclose(coded.parts, found.predict(entries, found.initial_past(3)), atol=1e-4)


def test_each_level_codebook_is_graded_by_what_it_leaves():
    levels, found = 8 * torch.randn(2, 10, 6) - 60, quantizer()
    coded = split_step.code_levels(found, levels)
    first = (levels - coded.parts[:, 0]).square().mean()
    second = (levels - coded.parts.sum(1)).square().mean()
    assert torch.allclose(split_step.level_losses(coded), first + second, rtol=1e-5)
    split_step.level_losses(coded).backward()
    assert float(found.taps.grad.abs().sum()) > 0 and float(found.mean.grad.abs().sum()) > 0


def test_losses_fall_and_codebooks_live(split_recipe, packed, tmp_path, monkeypatch):
    """On one batch again and again. Codebooks alone gain five percent of this loss."""
    monkeypatch.setattr(loop, "LOG_EVERY", 8)
    monkeypatch.setattr(loop, "draw_audio", lambda recipe, data, step: draw_audio(recipe, data, 0))
    more = {"steps": 24, "decay_steps": 5, "validate_every": 1000, "learning_rate": 1e-2, "lost_share": 0.0}
    train(dataclasses.replace(split_recipe, **more), packed, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["mel_log"] < 0.92 * rows[0]["mel_log"]
    assert min(rows[-1]["valid"]["perplexity"]) > 1.5  # more than one entry is in use


def test_resumed_run_equals_unbroken_run(split_recipe, packed, tmp_path, monkeypatch):
    more = {"muon_learning_rate": 0.01, "average_decay": 0.9}
    recipe = dataclasses.replace(split_recipe, steps=6, decay_steps=0, checkpoint_every=3, **more)
    unbroken = train(recipe, packed, tmp_path / "unbroken")
    train(dataclasses.replace(recipe, steps=4), packed, tmp_path / "broken")
    resumed = train(recipe, packed, tmp_path / "broken")
    wanted, found = unbroken.codec.state_dict(), resumed.codec.state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert all(torch.equal(unbroken.average[name], resumed.average[name]) for name in unbroken.average)


def test_frozen_tokens_stay_and_the_decoder_learns(split_recipe, packed, tmp_path):
    recipe = dataclasses.replace(split_recipe, muon_learning_rate=0.01, average_decay=0.9, steps=2)
    first = train(recipe, packed, tmp_path / "first")
    second = train(dataclasses.replace(recipe, frozen_tokens=True), packed, tmp_path / "second", init=first.codec)
    assert second.codec.token_space == first.codec.token_space
    before, after = first.codec.state_dict(), second.codec.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == (not name.startswith("decoder.")), name
    assert all(name.startswith("decoder.") for name in second.average)


def test_lost_frames_reach_the_decoder_as_nothing(split_recipe):
    codec = Codec(split_recipe.codec)
    codec.quantizer.levels.codebooks.normal_(0, 5)
    coded = split_step.code_levels(codec.quantizer.levels, 8 * torch.randn(2, 10, 72) - 60)
    lost = torch.zeros(2, 10, dtype=torch.bool)
    lost[0, 4:6] = True
    heard = split_step.decoder_inputs(codec, coded, torch.randn(2, 24, 10), torch.tensor([[2, 2], [2, 2]]), lost)
    assert float(heard.shape[0, 4:6].abs().max()) == 0 and float(heard.flags[0, 4:6].abs().max()) == 0
    codes = torch.zeros(1, 4, 10, dtype=torch.int64)
    codes[0, [0, 2]] = coded.codes[0]
    state = codec.decoder.initial_state(1)
    parts = [codes[..., :4], codes[:, :0, 4:6], codes[..., 6:]]
    streamed = torch.cat([codec.decoder.hear(codec.quantizer.decode(part), state).levels for part in parts], 1)
    assert torch.allclose(streamed[0], heard.levels[0], atol=1e-3)


def test_counts_stay_within_the_codebooks(split_recipe):
    codec = Codec(split_recipe.codec)
    for seed in range(20):
        for recipe in (split_recipe, dataclasses.replace(split_recipe, free_order=False)):
            counts = split_step.draw_counts(recipe, codec.quantizer, 8, torch.Generator().manual_seed(seed))
            assert 1 <= int(counts[:, 0].min()) <= int(counts[:, 0].max()) <= 2
            assert 0 <= int(counts[:, 1].min()) <= int(counts[:, 1].max()) <= 2


def test_the_core_of_training_is_that_of_decoding(split_recipe):
    codec = Codec(split_recipe.codec).eval()
    codec.quantizer.levels.codebooks.normal_(0, 5)
    codec.quantizer.shape.codebooks.normal_(0, 0.5)
    codes = torch.randint(16, (2, 4, 12))
    with torch.no_grad():
        wanted = codec.decode(codes)
        decoder = codec.decoder
        heard = decoder.hear(codec.quantizer.decode(codes), decoder.initial_state(2))
        found = split_step.core_audio(decoder, heard, frame_noise(0, 12, 2 * decoder.hop, heard.shape))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_loudness_loss_depends_neither_on_volume_nor_on_what_nobody_hears():
    torch.manual_seed(0)
    target = 0.1 * torch.randn(2, 1, 12_000)
    estimate = target + 0.03 * torch.randn_like(target)
    loss = float(loudness_loss(estimate, target, 24_000))
    assert loss > 0.02 and float(loudness_loss(target, target, 24_000)) < 0.01
    assert float(loudness_loss(0.1 * estimate, 0.1 * target, 24_000)) == pytest.approx(loss, rel=1e-3)
    whisper = target + 1e-6 * torch.randn_like(target)
    assert float(loudness_loss(whisper, target, 24_000)) < 0.01


def test_loudness_loss_counts_the_worst_moments_most():
    """Ten times the attenuation (dB) in a tenth of the time has the same mean in dB, and costs more."""
    torch.manual_seed(0)
    target = 0.1 * torch.randn(2, 1, 24_000)
    even, burst = 10 ** (-1 / 20) * target, target.clone()
    burst[..., 10_000:12_400] *= 10 ** (-10 / 20)
    assert float(loudness_loss(burst, target, 24_000)) > 1.5 * float(loudness_loss(even, target, 24_000))


def test_attack_loss_hears_sound_before_an_attack_and_nothing_else():
    generator = torch.Generator().manual_seed(3)
    target = 1e-3 * torch.randn(1, 1, 9_600, generator=generator)
    target[..., 4_800:6_000] += 0.3 * torch.randn(1200, generator=generator)
    noise = 0.03 * torch.randn(240, generator=generator)
    before, during, after = target.clone(), target.clone(), target.clone()
    before[..., 4_500:4_740] += noise
    during[..., 5_000:5_240] += noise
    after[..., 7_000:7_240] += noise
    assert float(attack_loss(before, target, 24_000)) > 0.3
    assert float(attack_loss(target, target, 24_000)) == 0
    assert float(attack_loss(during, target, 24_000)) == float(attack_loss(after, target, 24_000)) == 0
    assert float(attack_loss(target[..., :300], target[..., :300], 24_000)) == 0  # too short for an attack


def test_attack_loss_grows_with_the_pre_echo_but_not_below_what_the_attack_masks():
    target = torch.zeros(1, 1, 9_600)
    target[..., 4_800:6_000] = 0.3
    losses = []
    for level in (1e-5, 1e-2, 1e-1):
        estimate = target.clone()
        estimate[..., 4_500:4_800] = level
        losses.append(float(attack_loss(estimate, target, 24_000)))
    assert losses[0] < 1e-4 and losses[1] > 0.5 and losses[2] > 1.5 * losses[1]


def test_tile_loss_is_in_decibels():
    torch.manual_seed(0)
    audio = 0.1 * torch.randn(1, 1, 24_000)
    assert float(tile_loss(audio, audio, 24_000)) == 0
    assert abs(float(tile_loss(audio, 2 * audio, 24_000)) - 6.02) < 0.01


def test_decimated_keeps_what_is_below_the_new_limit():
    time = torch.arange(4800) / 48_000
    tone = torch.sin(2 * torch.pi * 1000 * time)
    assert torch.allclose(split_step.decimated(tone, 2), tone[::2], atol=1e-4)


def test_the_bundled_recipe_is_whole():
    recipe = read_recipe(find_recipe("nano-48k"), Recipe)
    codec = Codec(recipe.codec)
    n = sum(p.numel() for part in (codec.encoder, codec.decoder) for p in part.parameters())
    assert n <= 12e6
    assert sum(v.numel() for v in codec.state_dict().values()) * 2 < 25e6  # bytes in bfloat16
    assert float(recipe.codec.frame_rate) == 50


def test_other_recipes_begin_with_the_codec_of_the_first():
    names = ("nano-48k", "nano-48k-decoder", "nano-48k-finetune")
    first, second, finetune = (read_recipe(find_recipe(name), Recipe) for name in names)
    assert first.codec == second.codec and second.frozen_tokens and not second.metric_steps
    assert finetune.codec == dataclasses.replace(first.codec, name=finetune.codec.name) and not finetune.metric_steps
    assert finetune.codec.name != first.codec.name and not finetune.frozen_tokens


def test_a_recipe_whose_levels_do_not_fit_the_hop_is_refused(tmp_path):
    text = find_recipe("nano-48k").read_text().replace('kind = "split"', 'kind = "split"\nsteps = 7')
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.toml.*steps and fine_blocks must divide"):
        read_recipe(path, Recipe)


def test_latents_in_the_losses_basis_compute_what_they_did(split_recipe, packed, tmp_path):
    run = train(dataclasses.replace(split_recipe, steps=3), packed, tmp_path)
    data = PackedAudio.open(packed, "train", row_samples(split_recipe))
    batches = [draw_audio(split_recipe, data, 1000 + i) for i in range(3)]
    run.codec.eval()
    with torch.no_grad():
        latents, _, decode = split_step.coded_shape(run.codec, batches[0], 4)
        before, _ = decode(latents)
        level_books = run.codec.quantizer.levels.codebooks.clone()
    latent_basis.change_latent_basis(run, batches)
    start_codebooks(run, data)
    with torch.no_grad():
        moved, _, decode = split_step.coded_shape(run.codec, batches[0], 4)
        after, _ = decode(moved)
    assert not torch.allclose(moved, latents, atol=1e-2)
    assert float((after - before).norm()) < 1e-3 * float(before.norm())
    assert torch.equal(run.codec.quantizer.levels.codebooks, level_books)
