"""One codebook: find the index of the nearest entry.

Squared distances are compared in the expanded form |x|^2 - 2 x.e + |e|^2 (one matrix product), as
in EnCodec. Ties go to the lowest index.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..modules.matmul import affine, matmul
from .common import SCREEN_TOLERANCE


class Search:
    """Nearest-entry search over a constant codebook, in the codebook's dtype.

    In float32 the order of operations is EnCodec's, whose rounding decides between almost equally near
    entries; without `reference` only the product may be a faster one. In float64 a float32 search finds
    the few candidates and float64 decides among them: exact, and almost as fast as float32.
    """

    def __init__(self, codebook: Tensor, reference: bool = True) -> None:
        """Prepare a search for a codebook [V, D], float32 or float64."""
        self.codebook, self.reference = codebook, reference
        self.entries = codebook.t()  # [D, V]
        self.norms = self.entries.pow(2).sum(0, keepdim=True)  # [1, V]
        if codebook.dtype == torch.float64:
            self.half_norms = 0.5 * self.norms[0]
            self.screen_entries, self.screen_offsets = self.entries.float().contiguous(), -self.half_norms.float()
            self.reach = float(self.norms.max().sqrt())

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Vectors [M, D] -> indices [M], int64 in [0, V); ties go to the lowest index."""
        if x.dtype == torch.float64:
            return self._screened(x)
        product = torch.matmul if self.reference else matmul
        distance = product(2 * x, self.entries)  # then |x|^2 - it + |e|^2, in place: takes a third of the time
        torch.sub(x.pow(2).sum(1, keepdim=True), distance, out=distance).add_(self.norms)
        return distance.min(dim=-1).indices

    def _screened(self, x: Tensor) -> Tensor:
        """Score x.e - |e|^2 / 2 in float32; if a vector's best two are closer than its error, repeat it in float64."""
        narrow = x.float()
        scores = affine(narrow, self.screen_entries, self.screen_offsets)  # [M, V]
        best, index = scores.max(dim=1)
        margin = SCREEN_TOLERANCE * self.reach * (narrow.norm(dim=1) + self.reach)
        close = (scores >= (best - margin)[:, None]).sum(1) > 1
        rows = close.nonzero()[:, 0]
        if len(rows):  # about one in a hundred
            index[rows] = torch.addmm(-self.half_norms, x[rows], self.entries).argmax(dim=1)
        return index


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest entry: x [M, D], codebook [V, D] of one dtype -> [M], int64 in [0, V)."""
    return Search(codebook)(x)
