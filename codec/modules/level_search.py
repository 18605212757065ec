"""The closed-loop search of a level quantizer, in numpy, for both runtimes: the same codes and the same decoded levels.

A codebook predicts a frame from its own entries of the frames before, and codes what the codebook before it left over. So
codebook k can code frame t as soon as it has coded frame t - 1, and codebook k - 1 frame t. One step of the search does this
for all codebooks at a time: codebook 0 codes frame d, codebook 1 frame d - 1, and so on.

A step is short, so what counts is how few operations it has, and how few bytes they read. All vectors are in a basis in which
trained entries have almost nothing in the last coordinates, and scores are computed in float32 without these. If the best two
scores are closer than their largest error, float64 decides. This error depends on the length of the vector that is coded and
on what it has in the last coordinates: the search assumes limits for both and checks them at the end. If they do not hold, it
starts again with float64 alone.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ..quantize.directions import strongest_first

Exact = NDArray[np.float64]
Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
LONGEST = 2.0, 6.0  # vector that the first codebook codes, and each other one, relative to its longest entry
LARGEST_TAIL = 5e-4  # of an entry in the last coordinates, relative to the longest entry
SAMPLED = 8  # every eighth entry is looked at to decide how many coordinates are the last ones


class _Tables:
    """What the search needs to know about codebooks [L, V, F] and taps [L, n_taps, F, F]."""

    def __init__(self, codebooks: Floats, taps: Floats) -> None:
        n_books, size, n_levels = codebooks.shape
        basis = self.basis = strongest_first(codebooks)
        exact = codebooks.astype(np.float64).reshape(-1, n_levels)
        self.half_norms = 0.5 * np.einsum("vf,vf->v", exact, exact).reshape(n_books, size)
        # Each entry in the basis, and what it predicts for the next frames; an entry of zeros comes after each codebook's own.
        parts = np.empty((n_books, size + 1, (1 + taps.shape[1]) * n_levels))
        parts[:, -1] = 0
        rotated = (exact @ basis).reshape(n_books, size, n_levels)
        turned = taps.astype(np.float64).transpose(0, 1, 3, 2) @ basis  # [L, n_taps, F in, F out]
        for own, old, new, tap in zip(parts, exact.reshape(rotated.shape), rotated, turned.swapaxes(1, 2), strict=True):
            own[:-1, :n_levels] = new
            np.matmul(old, tap.reshape(n_levels, -1), out=own[:-1, n_levels:])
        self.parts = parts.reshape(n_books * (size + 1), -1, n_levels)

        reach = np.sqrt(2 * self.half_norms.max(axis=1))  # [L], the longest entry
        sample = np.square(rotated[:, ::SAMPLED])
        tails = np.sqrt((sample @ np.tri(n_levels)).max(axis=1))  # [L, F], from each coordinate on
        n_head = self.n_head = int(np.count_nonzero((tails > LARGEST_TAIL * reach[:, None]).any(axis=0)))
        self.entries = np.empty((n_books, n_head + 1, size), np.float32)  # the last row: -|e|^2 / 2
        self.entries[:, :-1], self.entries[:, -1] = rotated[..., :n_head].transpose(0, 2, 1), -self.half_norms
        self.longest = np.where(np.arange(n_books) == 0, *LONGEST) * reach
        error = (n_head + 4) * 2.0**-24 * reach * (self.longest + reach)  # of a score, at most
        tail = np.sqrt(np.einsum("lvf,lvf->lv", rotated[..., n_head:], rotated[..., n_head:]).max(axis=1))
        self.longest_tail = 0.5 * error / (tail + np.finfo(np.float32).tiny)
        self.margin = (3 * error).astype(np.float32)[:, None]  # between two scores


class LevelSearch:
    """Codebooks [L, V, F], taps [L, n_taps, F, F], mean and weight [F]; see LevelVQ. Decides in float64.

    `past` holds the codes of the last frames, [B, L, n_taps], latest last; V stands for an entry of zeros.
    """

    def __init__(self, codebooks: Floats, taps: Floats, mean: Floats, weight: Floats) -> None:
        self.n_books, self.size, _ = codebooks.shape
        self.n_taps, self._taps, self._codebooks = taps.shape[1], taps, codebooks
        self._mean, self._weight = mean.astype(np.float64), weight.astype(np.float64)

    def first_past(self, batch_size: int) -> Codes:
        """Return the past before the first frame."""
        return np.full((batch_size, self.n_books, self.n_taps), self.size, np.int64)

    @functools.cached_property
    def _own(self) -> _Tables:
        return _Tables(self._codebooks, self._taps)

    def __call__(self, levels: Exact, past: Codes) -> tuple[Codes, Exact]:
        """Return the codes [B, L, T] of levels [B, T, F], and the levels [B, T, F] that the first codebook decodes to.

        `past` is updated in place.
        """
        n_frames = levels.shape[1]
        own = self._own
        target = ((levels - self._mean) * self._weight @ own.basis).swapaxes(0, 1)  # [T, B, F]
        known, wanted = self._search(target, past, own.margin)
        if _longer(wanted, own.longest) or _longer(wanted[..., own.n_head :], own.longest_tail):
            known, wanted = self._search(target, past, np.full_like(own.margin, np.inf))
        codes = np.empty((len(past), self.n_books, n_frames), np.int64)
        for book in range(self.n_books):
            found = known[book, :, book : book + self.n_taps + n_frames]
            codes[:, book], past[:, book] = found[:, self.n_taps :], found[:, n_frames:]
        base = (target - wanted[:n_frames, 0]).swapaxes(0, 1) + own.parts[codes[:, 0], 0]
        return codes, base @ own.basis.T / self._weight + self._mean

    def _search(self, target: Exact, past: Codes, margin: Floats) -> tuple[Codes, Exact]:
        """Return the codes, and the vectors that are coded; frame t of codebook k stands at t + k.

        Shapes: target [T, B, F] -> codes [L, B, n_taps + T + L - 1], after those of the past; vectors [T + L - 1, L, B, F].
        """
        n_frames, batch_size, n_levels = target.shape
        n_books, size, n_taps, own = self.n_books, self.size, self.n_taps, self._own
        n_steps = n_frames + n_books - 1
        known = np.full((n_books, batch_size, n_taps + n_steps), size, np.int64)
        for book in range(n_books):
            known[book, :, book : book + n_taps] = past[:, book]
        predicted = self._predicted(past, n_frames)
        wanted = np.zeros((n_steps, n_books, batch_size, n_levels))
        rest = np.zeros((n_books + 1, batch_size, n_levels))  # what each codebook is to code next
        padded = np.ones((n_books, batch_size, own.n_head + 1), np.float32)
        scores = np.empty((n_books, batch_size, size), np.float32)
        flat = scores.reshape(-1)
        starts = np.arange(n_books * batch_size).reshape(n_books, batch_size) * size  # of scores
        rows = np.arange(n_books)[:, None] * (size + 1)  # of the table
        for step in range(n_steps):
            now = slice(max(0, step - n_frames + 1), min(n_books, step + 1))
            if now.start == 0:
                rest[0] = target[step]
            x = np.subtract(rest[now], predicted[step, now], out=wanted[step, now])
            padded[now, :, :-1] = x[..., : own.n_head]
            found = np.matmul(padded[now], own.entries[now], out=scores[now])
            index = found.argmax(axis=2)
            places = index + starts[now]
            best = flat[places]
            flat[places] = -np.inf
            is_open = np.maximum.reduce(found, axis=2) >= best - margin[now]
            if np.count_nonzero(is_open):
                flat[places] = best
                self._decide(now.start, x, found, margin, is_open, index)
            known[now, :, step + n_taps] = index
            entries = own.parts.take(index + rows[now], axis=0)  # [books, B, 1 + n_taps, F]
            np.subtract(x, entries[:, :, 0], out=rest[now.start + 1 : now.stop + 1])
            if n_frames > 1:
                predicted[step + 1 : step + 1 + n_taps, now] += entries[:, :, 1:].transpose(2, 0, 1, 3)
        return known, wanted

    def _predicted(self, past: Codes, n_frames: int) -> Exact:
        """Return what the past predicts, [T + L - 1 + n_taps, L, B, F], frame t of codebook k at t + k."""
        n_books, n_taps, (_, n_parts, n_levels) = self.n_books, self.n_taps, self._own.parts.shape
        predicted = np.zeros((n_frames + n_books - 1 + n_taps, n_books, len(past), n_levels))
        books, parts = np.arange(n_books), self._own.parts.reshape(-1, n_levels)
        first_parts = (past + books[:, None] * (self.size + 1)) * n_parts
        for frame in range(min(n_taps, n_frames)):
            taps = np.arange(n_taps, frame, -1)  # of the codes that are recent enough
            found = parts.take(first_parts[:, :, frame:] + taps, axis=0).sum(axis=2)  # [B, L, F]
            predicted[frame + books, books] = found.swapaxes(0, 1)
        return predicted

    def _decide(
        self, first: int, x: Exact, scores: Floats, margin: Floats, is_open: NDArray[np.bool_], index: Codes
    ) -> None:
        """Decide in float64 between the entries whose float32 scores are within the margin; write the choices to `index`."""
        for a, b in np.argwhere(is_open):
            book, found = first + a, scores[a, b]
            close = (found >= found.max() - margin[book]).nonzero()[0]
            exact = self._codebooks[book, close].astype(np.float64) @ (self._own.basis @ x[a, b])
            exact -= self._own.half_norms[book, close]
            index[a, b] = close[exact.argmax()]


def _longer(vectors: Exact, limits: Exact) -> bool:
    """Return True if a vector [T, L, B, F] is longer than the limit [L] of its codebook."""
    squares = np.einsum("tlbf,tlbf->tlb", vectors, vectors).max(axis=(0, 2), initial=0)
    return bool((squares > np.square(limits)).any())
