"""Statistics of codes: how often the entries of each codebook occur. No model is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError
from .header import Header
from .reader import Reader


class CodebookUse:
    """Counts the entries of each codebook in streams of one token space. The streams of a stereo file count together."""

    def __init__(self) -> None:
        self.header: Header | None = None  # of the first stream
        self.counts: NDArray[np.int64] = np.zeros((0, 0), np.int64)  # [K, V]
        self.n_streams = 0

    def add(self, reader: Reader) -> None:
        """Count all codes of a stream; raises FormatError for damage and ArgumentError for another token space.

        A stream that raises is not counted.
        """
        header = reader.header
        if self.header is not None and _space(header) != _space(self.header):
            raise ArgumentError(f"holds codes of {header.codec}, but the files before it hold codes of {self.header.codec}")
        counts = np.zeros((header.max_codebooks, header.codebook_size), np.int64)
        for chunk in reader:
            for rows in np.split(chunk.codes, np.cumsum(chunk.n_codebooks)[:-1]):
                for k, row in enumerate(rows):
                    counts[k] += np.bincount(row, minlength=header.codebook_size)
        both = np.zeros((max(len(counts), len(self.counts)), header.codebook_size), np.int64)
        both[: len(counts)] += counts
        if self.header is not None:
            both[: len(self.counts)] += self.counts
        self.header, self.counts = self.header or header, both
        self.n_streams += header.n_streams

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each codebook that occurs: number from 1, codes, used entries, bits per code, and perplexity."""
        found = []
        for number, counts in enumerate(self.counts, 1):
            if not counts.any():  # no stream has this codebook
                continue
            shares = counts[counts > 0] / counts.sum()
            bits = float(-(shares * np.log2(shares)).sum()) + 0.0  # not -0.0
            found.append({
                "codebook": number, "codes": int(counts.sum()), "used": int((counts > 0).sum()), "size": len(counts),
                "entropy_bits": round(bits, 3), "perplexity": round(2.0**bits, 1),
            })  # fmt: skip
        return found


def _space(header: Header) -> tuple[bytes, int]:
    """Return what tells one token space from another. The size is part of it, because nobody has checked the hash."""
    return header.token_space, header.codebook_size
