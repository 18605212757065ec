"""Exact silence where a stream has no codes (K = 0), with short fades, applied as blocks are decoded."""

from __future__ import annotations

import numpy as np

FADE_SAMPLES = 120  # 5 ms at 24 kHz


class Silencer:
    """The gain of one decoded stream: 0 for frames without codes.

    It falls over the first samples of such a span, unless the stream starts with it, and rises over the
    first samples after it, so no look-ahead is needed. A decoder may return samples later than their frames.
    """

    def __init__(self, hop_length: int) -> None:
        self._hop = hop_length
        self._n_told = self._n_given = 0  # samples: of the frames announced so far, and passed so far
        self._spans: list[tuple[int, int]] = []  # spans without codes, in samples

    def tell(self, n_codebooks: int, n_frames: int) -> None:
        """Announce the next frames and their number of codebooks."""
        start, self._n_told = self._n_told, self._n_told + n_frames * self._hop
        if n_codebooks == 0 and n_frames:
            if self._spans and self._spans[-1][1] == start:
                start = self._spans.pop()[0]
            self._spans.append((start, self._n_told))

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Return the next decoded samples [C, n], silenced where there are no codes."""
        first, self._n_given = self._n_given, self._n_given + block.shape[1]
        self._spans = [span for span in self._spans if span[1] + FADE_SAMPLES > first]
        if not self._spans:
            return block
        position = np.arange(first, self._n_given)
        gain = np.ones(len(position), np.float32)
        for start, stop in self._spans:
            falling = 1 - (position - start) / FADE_SAMPLES if start else np.zeros(len(position))
            rising = (position - stop) / FADE_SAMPLES
            gain *= np.where(position < start, 1, np.clip(np.where(position < stop, falling, rising), 0, 1)).astype(np.float32)
        return block * gain
