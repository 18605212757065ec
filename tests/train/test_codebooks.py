"""Codebook learning: k-means, moving averages, revival, per-row dropout."""

import numpy as np
import pytest
import torch
from ecdc.codec.quantize.residual import ResidualVQ
from ecdc.train.codec.codebooks import CodebookTrainer, _accumulate, perplexity


@pytest.fixture(params=[False, True], ids=["plain", "scaled"])
def trainer(request):
    torch.manual_seed(0)
    trainer = CodebookTrainer(ResidualVQ(3, 16, 8, scaled=request.param))
    trainer.start(torch.randn(400, 8), torch.Generator().manual_seed(0))
    return trainer


def test_kmeans_start_needs_enough_vectors():
    with pytest.raises(ValueError, match="at least 16 vectors, got 5"):
        CodebookTrainer(ResidualVQ(1, 16, 8)).start(torch.randn(5, 8), torch.Generator())


def test_each_codebook_lowers_the_error(trainer):
    x = torch.randn(4, 8, 50)
    errors = [float((x - trainer.quantizer.decode(trainer.quantizer.encode(x, k))).square().mean()) for k in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]


def test_dropped_codebooks_add_nothing(trainer):
    x = torch.randn(2, 8, 20)
    quantized, _, codes = trainer(x, torch.tensor([1, 3]))
    assert torch.allclose(quantized[:1], trainer.quantizer.decode(codes[:1, :1]), atol=1e-5)
    assert torch.allclose(quantized[1:], trainer.quantizer.decode(codes[1:]), atol=1e-5)


def test_straight_through_gradient_is_the_identity(trainer):
    x = torch.randn(2, 8, 20, requires_grad=True)
    trainer(x, torch.tensor([3, 3]))[0].sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_scales_follow_what_the_first_codebook_leaves():
    torch.manual_seed(0)
    trainer = CodebookTrainer(ResidualVQ(2, 4, 8, scaled=True), decay=0.9)
    centres = 10 * torch.eye(4, 8)
    spread = torch.tensor([0.1, 0.5, 1.0, 2.0])

    def draw():
        which = torch.randint(4, (400,))
        return (centres[which] + spread[which, None] * torch.randn(400, 8)).T[None]

    trainer.start(draw()[0].T, torch.Generator().manual_seed(0), iterations=50)
    for _ in range(100):
        x = draw()
        n_codebooks = torch.tensor([2])
        trainer.learn(torch.Generator(), n_codebooks, x, trainer(x, n_codebooks)[2])
    found = torch.tensor([trainer.quantizer.scales[trainer.quantizer.codebooks[0][:, i].argmax()] for i in range(4)])
    assert torch.allclose(found, spread, rtol=0.15)


def test_accumulate_equals_plain_reference():
    rng = np.random.default_rng(0)
    counts, sums = rng.random(5).astype(np.float32), rng.random((5, 3)).astype(np.float32)
    vectors, index = rng.random((40, 3)).astype(np.float32), rng.integers(0, 5, 40)
    want_counts, want_sums = 0.9 * counts, 0.9 * sums
    np.add.at(want_counts, index, 0.1)
    np.add.at(want_sums, index, 0.1 * vectors)
    _accumulate(counts, sums, vectors, index, 0.9, 0.1)
    np.testing.assert_allclose(counts, want_counts, rtol=1e-5)
    np.testing.assert_allclose(sums, want_sums, rtol=1e-5)


def test_codes_that_nobody_uses_are_revived(trainer):
    trainer.quantizer.codebooks[0, :8] = 100.0
    trainer.sums[0, :8] = 100.0
    generator = torch.Generator().manual_seed(1)
    for _ in range(400):
        x = torch.randn(4, 8, 50)
        n_codebooks = torch.full((4,), 3)
        trainer.learn(generator, n_codebooks, x, trainer(x, n_codebooks)[2])
    assert trainer.quantizer.codebooks[0].abs().max() < 10


def test_perplexity_counts_codes_in_use():
    codes = torch.arange(8).repeat(4)[None, None]
    assert perplexity(codes, 32)[0] == pytest.approx(8)
