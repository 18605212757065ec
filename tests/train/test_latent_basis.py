"""Latents in the loss's basis: the networks compute what they did, and no direction matters more than another."""

import dataclasses

import pytest
import torch
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.train.codec import latent_basis, loop
from ecdc.train.codec.recipe import Recipe
from ecdc.train.codec.state import Run
from ecdc.train.codec.step import draw_audio, start_codebooks
from ecdc.train.data.packed_audio import PackedAudio


@pytest.fixture
def run(recipe, packed, tmp_path):
    run = loop.train(dataclasses.replace(recipe, steps=20), packed, tmp_path, report=lambda line: None)
    run.codec.eval()
    return run


@pytest.fixture
def batches(recipe, packed):
    data = PackedAudio.open(packed, "train", 1)
    return [draw_audio(recipe, data, 1000 + i) for i in range(6)]


def test_nothing_changes_but_the_quantizers_view(run, batches):
    with torch.no_grad():
        latents = run.codec.encoder(batches[0])
        before = run.codec.decoder(latents)
    latent_basis.change_latent_basis(run, batches)
    with torch.no_grad():
        assert not torch.allclose(run.codec.encoder(batches[0]), latents, atol=1e-2)
        assert (run.codec.decoder(run.codec.encoder(batches[0])) - before).norm() < 1e-4 * before.norm()


def test_the_averaged_weights_compute_what_they_did(recipe, packed, tmp_path, batches):
    recipe = dataclasses.replace(recipe, steps=20, average_decay=0.9)
    run = loop.train(recipe, packed, tmp_path, report=lambda line: None)
    outputs = []
    for change in (lambda: None, lambda: latent_basis.change_latent_basis(run, batches)):
        change()
        with run.averaged() as codec, torch.no_grad():
            outputs.append(codec.decoder(codec.encoder(batches[0])))
    assert (outputs[1] - outputs[0]).norm() < 1e-4 * outputs[0].norm()


def test_every_direction_matters_alike(run, batches):
    """H in the new basis is B^-T H B^-1, which is a multiple of the identity but for the limited range."""
    sensitivity, energy = latent_basis.sensitivity(run, batches)
    basis = latent_basis.basis_of(sensitivity, energy)
    inverse = torch.linalg.inv(basis)
    seen = torch.linalg.eigvalsh(inverse.T @ sensitivity.double() @ inverse)
    values = torch.linalg.eigvalsh(sensitivity.double())
    within = int((values > values.max() / latent_basis.RANGE).sum())
    assert within >= 4 and seen[-within] == pytest.approx(float(seen[-1]), rel=1e-6)
    assert (basis @ energy.double() @ basis.T).trace() == pytest.approx(float(energy.trace()), rel=1e-6)


def test_other_architectures_are_refused(recipe, packed, batches):
    codec = CodecConfig(
        name="x", architecture=SeanetConfig(n_filters=2, lstm_layers=0), dimension=8, n_codebooks=2, codebook_size=16
    )
    run = Run.new(Recipe(codec=codec, data=recipe.data, kmeans_seconds=8.0))
    start_codebooks(run, PackedAudio.open(packed, "train", 1))
    with pytest.raises(ValueError, match="the seanet architecture cannot"):
        latent_basis.change_latent_basis(run, batches)
