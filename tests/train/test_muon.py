"""Muon's updates are orthogonal, and those of the library where it has them."""

import pytest
import torch
from ecdc.train.engine import muon
from ecdc.train.engine.muon import Muon, orthogonal


@pytest.mark.parametrize(("narrow", "tolerance"), [(False, 1e-3), (True, 0.05)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_directions_stay_and_lengths_become_equal(shape, narrow, tolerance, monkeypatch):
    monkeypatch.setattr(muon, "has_bfloat16", lambda: narrow)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(100 * matrix)
    assert torch.allclose(found, orthogonal(matrix), atol=tolerance)
    spread = u.T @ found @ vt.T
    lengths = spread.diagonal()
    assert ((lengths > 0.5) & (lengths < 1.4)).all()
    assert (spread - lengths.diag()).abs().max() < tolerance


def test_a_zero_gradient_moves_nothing():
    assert torch.equal(orthogonal(torch.zeros(4, 6)), torch.zeros(4, 6))


def test_only_matrices_are_taken():
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch 2.9")
def test_steps_are_those_of_the_library():
    generator = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(12, 30, generator=generator), torch.randn(4, 12, 30, generator=generator)
    ends = []
    for kind in (Muon, torch.optim.Muon):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = kind([parameter], lr=0.05, weight_decay=0.1)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameter.detach() - start)
    assert (ends[0] - ends[1]).norm() < 0.05 * ends[1].norm()  # the library's are in bfloat16
