"""Networks with linear layers at the latents, so that the basis of the latents can be changed without changing the audio."""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor


class LinearLatentEncoder(nn.Module):
    """Base of an encoder whose latents are the sum of the linear layers `out` and `skip`."""

    out: nn.Linear
    skip: nn.Linear

    @torch.no_grad()
    def change_basis(self, basis: Tensor) -> list[Tensor]:
        """Change the basis of latents z to `basis` [D, D] @ z; returns the parameters that changed."""
        assert self.out.bias is not None
        changed = [self.out.weight, self.out.bias, self.skip.weight]
        for parameter in changed:
            parameter.copy_(basis.to(parameter.dtype) @ parameter)
        return changed


class LinearLatentDecoder(nn.Module):
    """Base of a decoder that reads latents with the linear layers `skip` and `inp`.

    The first columns of `inp` are for the latents of `n_latents_read` consecutive frames.
    """

    skip: nn.Linear
    inp: nn.Linear
    dimension: int  # D
    n_latents_read = 1

    @torch.no_grad()
    def change_basis(self, inverse: Tensor) -> list[Tensor]:
        """Accept latents in another basis, where `inverse` [D, D] leads back; returns the parameters that changed."""
        inverse = inverse.to(self.skip.weight.dtype)
        self.skip.weight.copy_(self.skip.weight @ inverse)
        for inner in self.inp.weight.split(self.dimension, dim=1)[: self.n_latents_read]:
            inner.copy_(inner @ inverse)
        return [self.skip.weight, self.inp.weight]
