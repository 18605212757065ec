"""The loss of a second coding: nothing is lost by a decoder that writes what the codes say."""

import dataclasses

import pytest
import torch
from ecdc.codec.config import CodecConfig, SplitConfig
from ecdc.codec.model import Codec
from ecdc.format.errors import ArgumentError
from ecdc.train.codec import recode, split_step
from ecdc.train.codec.recipe import LossRecipe, Recipe
from ecdc.train.codec.state import Run

ARCHITECTURE = SplitConfig(
    encoder_width=16, encoder_depth=2, decoder_width=16, decoder_depth=1, level_taps=2, level_places=(0, 2)
)
CONFIG = CodecConfig(
    "tiny", ARCHITECTURE, sample_rate=48_000, dimension=168, n_codebooks=4, codebook_size=16, bitrates_kbps=(0.2, 0.4, 0.6, 0.8)
)


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    found = Codec(CONFIG)
    found.quantizer.levels.codebooks.normal_(0, 5)
    return found


@pytest.fixture(scope="module")
def first(codec):
    """Frames, levels, base levels and latents of a first coding, and the audio of the core."""
    torch.manual_seed(1)
    audio = split_step.decimated(0.1 * torch.randn(2, 1, 21 * 1920), 2)  # below 12 kHz, as the core is
    audio = recode.interpolated(audio, 2)[..., : 21 * 960].clone()
    audio = recode.interpolated(split_step.decimated(audio, 2), 2)
    encoder = codec.encoder
    frames = split_step.frames_of(audio, encoder.hop)
    exact = encoder.analysis(frames)
    base = exact.round()
    latents = encoder.shape(frames, exact, base, encoder.initial_state(2))
    return (frames, exact, base, latents), split_step.core_target(audio, codec.encoder.config)


def test_interpolating_undoes_decimating():
    torch.manual_seed(2)
    audio = torch.randn(3, 960)
    assert torch.allclose(split_step.decimated(recode.interpolated(audio, 2), 2), audio - nyquist(audio), atol=1e-5)


def nyquist(audio):
    signs = torch.tensor([1.0, -1.0]).repeat(audio.shape[-1] // 2)
    return (audio * signs).mean(-1, keepdim=True) * signs


def test_a_second_coding_of_the_same_audio_measures_the_same(codec, first):
    (frames, exact, base, latents), core = first
    levels, again = recode.second_coding(codec.encoder, frames, exact, base, core)
    kept = slice(recode.FIRST, frames.shape[1] - recode.LAST)
    assert torch.allclose(levels, recode.core_levels(exact[:, kept], codec.encoder.config), atol=0.02)
    assert torch.allclose(again, latents[..., kept], atol=0.02 * float(latents.detach().abs().max()))


def test_loss_is_zero_if_the_audio_is_what_the_codes_say(codec, first):
    parts, core = first
    counts = torch.tensor([[2, 2], [2, 2]])
    _, exact, _, latents = parts
    assert float(recode.recode_loss(codec.encoder, parts, (exact, latents), core, counts)) < 0.01
    wrong = recode.recode_loss(codec.encoder, parts, (exact + 3.0, 0.5 * latents), core, counts)
    assert float(wrong) > 1.0  # both errors are as large as those of the first coding: twice log(2)
    assert float(recode.recode_loss(codec.encoder, parts, (exact + 3.0, 0.5 * latents), core, 0 * counts)) == 0


def test_the_gradient_reaches_only_the_decoder(codec, packed):
    recipe = Recipe(CONFIG, losses=LossRecipe(recode=1.0), frozen_tokens=True)
    run = Run.new(recipe)
    torch.manual_seed(3)
    audio, lost = 0.1 * torch.randn(2, 1, 21 * 960), torch.zeros(2, 20, dtype=torch.bool)
    found = split_step.forward(run.codec, run.codebooks, audio, torch.tensor([[2, 2], [1, 1]]), lost, None, recodes=True)
    assert found.recode is not None
    found.recode.backward()
    assert all(p.grad is None for part in (run.codec.encoder, run.codec.quantizer) for p in part.parameters())
    assert sum(float(p.grad.abs().sum()) for p in run.codec.decoder.parameters() if p.grad is not None) > 0


def test_other_codecs_have_no_such_loss(recipe):
    with pytest.raises(ArgumentError, match=r"losses\.recode"):
        Run.new(dataclasses.replace(recipe, losses=LossRecipe(recode=0.1)))
