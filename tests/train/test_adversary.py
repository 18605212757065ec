"""Discriminators tell real from fake, what they teach reaches the estimate, and shares of gradients are as asked."""

import pytest
import torch
from ecdc.train.codec.adversary import Adversary, SpectrumDiscriminator, band_edges
from ecdc.train.codec.balancer import Balancer
from ecdc.train.codec.recipe import AdversaryRecipe

RECIPE = AdversaryRecipe(windows=(64, 256), bands=3, width=8, learning_rate=2e-3, alone_steps=10, ramp_steps=20)


def audio(seed, noise=0.0):
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(4000) / 24_000
    rows = [0.3 * torch.sin(2 * torch.pi * hz * t) for hz in (300, 800, 2000)]
    return torch.stack(rows)[:, None] + noise * torch.randn(3, 1, 4000, generator=generator)


def test_discriminators_learn_to_tell_clean_from_noisy():
    torch.manual_seed(0)
    adversary = Adversary(RECIPE)
    losses = [float(adversary.learn(audio(i, noise=0.05), audio(i))) for i in range(60)]
    assert losses[0] > 1.8 and losses[-1] < 0.5 * losses[0]
    clean, noisy = (adversary.losses(audio(99, noise), audio(99)) for noise in (0.0, 0.05))
    assert noisy["adversarial"] > clean["adversarial"] and noisy["feature"] > clean["feature"] == 0


def test_gradients_reach_the_estimate_alone():
    torch.manual_seed(0)
    adversary = Adversary(RECIPE)
    estimate, target = audio(0, 0.1).requires_grad_(), audio(0).requires_grad_()
    sum(adversary.losses(estimate, target).values()).backward()
    assert estimate.grad.abs().sum() > 0 and target.grad is None
    before = estimate.grad.clone()
    adversary.learn(estimate, target.detach())
    assert torch.equal(estimate.grad, before)


def test_bands_cover_every_bin_once():
    for n_bins, n_bands in ((129, 5), (513, 5), (33, 3), (257, 1)):
        edges = band_edges(n_bins, n_bands)
        assert edges[0] == 0 and edges[-1] == n_bins and len(edges) == n_bands + 1 and edges == sorted(set(edges))


def test_a_band_hears_nothing_of_the_others():
    torch.manual_seed(0)
    discriminator = SpectrumDiscriminator(256, 3, 8)
    t = torch.arange(4000) / 24_000
    low = 0.3 * torch.sin(2 * torch.pi * 400 * t)[None, None]
    high = low + 0.3 * torch.sin(2 * torch.pi * 9000 * t)[None, None]
    one, two = (discriminator(x)[0] for x in (low, high))
    assert torch.allclose(one[:, 0], two[:, 0], atol=2e-3) and not torch.allclose(one[:, 2], two[:, 2], atol=1e-2)


def test_weights_wait_and_then_grow():
    adversary = Adversary(RECIPE)
    weights = [adversary.weight_at(step) for step in range(40)]
    assert weights[:11] == [0] * 11 and weights[20] == 0.5 and weights[30:] == [1] * 10 and weights == sorted(weights)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_shares_do_not_depend_on_a_losses_scale(scale):
    output = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses = {"a": (output**2).sum(), "b": scale * output.sum()}
    weights = {"a": 1.0, "b": 3.0}
    one, other = 2 * output.detach(), torch.ones(5, 7)
    wanted = one.norm() * (one / one.norm() + 3 * other / other.norm()) / 4
    balancer = Balancer(("a", "b"))
    for _ in range(3):
        assert torch.allclose(balancer.gradient(losses, weights, output), wanted, rtol=1e-5)


def test_a_single_share_is_the_plain_gradient():
    output = torch.randn(4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    losses = {"a": (output**3).sum(), "b": output.sum()}
    found = Balancer(("a", "b")).gradient(losses, {"a": 2.0, "b": 0.0}, output)
    assert torch.allclose(found, 3 * output.detach() ** 2)
