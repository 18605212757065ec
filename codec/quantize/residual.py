"""K codebooks, each coding the residual of the previous ones (EnCodec, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn
from torch import Tensor

from .beam import BeamSearch, float32_arrays
from .vq import Search


class ResidualVQ(nn.Module):
    """Residual vector quantizer over `codebooks` [K, V, D].

    With `scales` [V], the entry chosen by the first codebook also sets the scale of the residual: the
    other codebooks code the residual divided by it. So loud and quiet frames share them, which a
    plain residual quantizer cannot do.
    """

    codebooks: Tensor
    scales: Tensor | None

    def __init__(self, n_codebooks: int, codebook_size: int, dimension: int, scaled: bool = False) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(n_codebooks, codebook_size, dimension))
        self.register_buffer("scales", torch.ones(codebook_size) if scaled else None)
        self.reference = True  # search in EnCodec's order of operations
        self._prepared: tuple[tuple[int, int, torch.dtype, bool], list[Search]] | None = None
        self._beam: tuple[list[tuple[int, int]], BeamSearch] | None = None

    def token_tensors(self) -> Iterator[Tensor]:
        """Yield all tensors that give codes their meaning, in the order of the hash."""
        yield self.codebooks
        if self.scales is not None:
            yield self.scales

    def books(self) -> list[Tensor]:
        """Return the entries [V, D] of each codebook."""
        return list(self.codebooks)

    def encode(self, latents: Tensor, n_codebooks: int | None = None, n_paths: int = 1) -> Tensor:
        """Quantize latents, coarse to fine, in the latents' dtype.

        Shapes: latents [B, D, T] -> codes [B, n_codebooks, T], int64 in [0, V).
        The first k codebooks of a longer encoding equal the encoding at k, unless `n_paths` asks for a beam search.
        """
        batch_size, dimension, n_frames = latents.shape
        residual = latents.transpose(1, 2).reshape(-1, dimension)  # [B*T, D]
        if n_paths > 1:
            n_codebooks = len(self.codebooks) if n_codebooks is None else n_codebooks
            found = self._beam_search()(residual.double().cpu().numpy(), n_codebooks, n_paths)
            return torch.from_numpy(found).to(latents.device).view(batch_size, n_frames, n_codebooks).transpose(1, 2)
        codes: list[Tensor] = []
        for search in self._searches(latents.dtype)[:n_codebooks]:
            index = search(residual)
            residual = residual - search.codebook[index]
            if self.scales is not None and not codes:
                residual = residual / self.scales.to(latents.dtype)[index, None]
            codes.append(index.view(batch_size, n_frames))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latents that codes stand for, summed in codebook order: [B, k, T] -> [B, D, T]."""
        batch_size, n_codebooks, n_frames = codes.shape
        total = self.codebooks.new_zeros(batch_size, n_frames, self.codebooks.shape[2])
        scale = None if self.scales is None or not n_codebooks else self.scales[codes[:, 0], None]  # [B, T, 1]
        for k, (index, codebook) in enumerate(zip(codes.unbind(1), self.codebooks, strict=False)):
            entry = nn.functional.embedding(index, codebook)
            total = total + (entry if scale is None or k == 0 else entry * scale)
        return total.transpose(1, 2)

    def _beam_search(self) -> BeamSearch:
        """Return the beam search; it is prepared again if the codebooks have changed."""
        tensors = [t for t in (self.codebooks, self.scales) if t is not None]
        key = [(t.data_ptr(), t._version) for t in tensors]
        if self._beam is None or self._beam[0] != key:
            self._beam = key, BeamSearch(*float32_arrays(*tensors))
        return self._beam[1]

    def _searches(self, dtype: torch.dtype) -> list[Search]:
        """Return one prepared search per codebook; they are prepared again if the codebooks have changed."""
        key = (self.codebooks.data_ptr(), self.codebooks._version, dtype, self.reference)
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, [Search(codebook, self.reference) for codebook in self.codebooks.detach().to(dtype)]
        return self._prepared[1]
