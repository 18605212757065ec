"""The closed-loop search of a level quantizer, in numpy, for both runtimes: the same codes and the same decoded levels.

A codebook predicts a frame from its own entries of the frames before, and codes what the codebook before it left over. So
codebook k can code frame t as soon as it has coded frame t - 1, and codebook k - 1 frame t. One step of the search does this
for all codebooks at a time: codebook 0 codes frame d, codebook 1 frame d - 1, and so on.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ..quantize.common import SCREEN_TOLERANCE

Exact = NDArray[np.float64]
Codes = NDArray[np.int64]


class LevelSearch:
    """Codebooks [L, V, F], taps [L, n_taps, F, F], mean and weight [F]; see LevelVQ. Decides in float64.

    `past` holds the codes of the last frames, [B, L, n_taps], latest last; V stands for an entry of zeros.
    """

    def __init__(self, codebooks: NDArray[np.float32], taps: NDArray[np.float32], mean: NDArray[np.float32],
                 weight: NDArray[np.float32]) -> None:  # fmt: skip
        self.n_books, self.size, n_levels = codebooks.shape
        self.n_taps, self._taps = taps.shape[1], taps
        self._mean, self._weight = mean.astype(np.float64), weight.astype(np.float64)
        self._exact = np.zeros((self.n_books, self.size + 1, n_levels))
        self._exact[:, :-1] = codebooks
        self._half_norms = 0.5 * np.square(self._exact[:, :-1]).sum(-1)  # [L, V]
        self._entries = np.ascontiguousarray(codebooks.transpose(0, 2, 1))  # [L, F, V]
        self._offsets = self._half_norms.astype(np.float32)[:, None]
        self._reach = np.sqrt(2 * self._half_norms.max(axis=1))[:, None]  # [L, 1], the longest entry

    def first_past(self, batch_size: int) -> Codes:
        """Return the past before the first frame."""
        return np.full((batch_size, self.n_books, self.n_taps), self.size, np.int64)

    @functools.cached_property
    def _table(self) -> Exact:
        """What each entry predicts, [L * n_taps * (V + 1), F]; taps are in the order of the past, oldest first."""
        taps = self._taps[:, ::-1].astype(np.float64).transpose(0, 1, 3, 2)  # [L, n_taps, F in, F out]
        return (self._exact[:, None] @ taps).reshape(-1, taps.shape[-1])

    def __call__(self, levels: Exact, past: Codes) -> tuple[Codes, Exact]:
        """Return the codes [B, L, T] of levels [B, T, F], and the levels [B, T, F] that the first codebook decodes to.

        `past` is updated in place.
        """
        batch_size, n_frames, n_levels = levels.shape
        target = (levels - self._mean) * self._weight
        base = np.empty_like(target)
        n_steps = n_frames + self.n_books - 1
        known = np.full((self.n_books, batch_size, self.n_taps + n_steps), self.size, np.int64)  # frame t of book k at t + k
        for book in range(self.n_books):
            known[book, :, book : book + self.n_taps] = past[:, book]
        first_row = np.arange(self.n_books * self.n_taps).reshape(self.n_books, 1, self.n_taps) * (self.size + 1)
        rest = np.zeros((self.n_books + 1, batch_size, n_levels))  # what each codebook is to code next
        for step in range(n_steps):
            active = slice(max(0, step - n_frames + 1), min(self.n_books, step + 1))
            if active.start == 0:
                rest[0] = target[:, step]
            rows = known[active, :, step : step + self.n_taps] + first_row[active]
            predicted = self._table.take(rows, axis=0).sum(axis=2)
            wanted = rest[active] - predicted
            known[active, :, step + self.n_taps] = index = self._nearest(active, wanted)
            entry = self._exact[np.arange(active.start, active.stop)[:, None], index]
            rest[active.start + 1 : active.stop + 1] = wanted - entry
            if active.start == 0:
                base[:, step] = predicted[0] + entry[0]
        codes = np.empty((batch_size, self.n_books, n_frames), np.int64)
        for book in range(self.n_books):
            own = known[book, :, book : book + self.n_taps + n_frames]
            codes[:, book], past[:, book] = own[:, self.n_taps :], own[:, n_frames:]
        return codes, base / self._weight + self._mean

    def _nearest(self, books: slice, x: Exact) -> Codes:
        """Return the nearest entries [A, B] of x [A, B, F]: in float32 if that decides it, otherwise in float64."""
        narrow = x.astype(np.float32)
        scores = narrow @ self._entries[books]  # [A, B, V]
        scores -= self._offsets[books]
        index: Codes = scores.argmax(axis=2)
        best = scores.max(axis=2)
        length, reach = np.sqrt(np.einsum("abf,abf->ab", narrow, narrow)), self._reach[books]
        least = (best - SCREEN_TOLERANCE * reach * (length + reach)).astype(np.float32)
        is_close = scores >= least[..., None]
        if np.count_nonzero(is_close) > index.size:
            for a, b in np.argwhere(is_close.sum(axis=2) > 1):
                book = books.start + a
                index[a, b] = (self._exact[book, :-1] @ x[a, b] - self._half_norms[book]).argmax()
        return index
