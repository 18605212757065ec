"""Count samples beyond full scale, and tell the user about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, log10

import numpy as np

LOSSY_OVERSHOOT = 10 ** (3 / 20)  # peaks to which decoders of MP3, AAC or Opus turn loud music; not worth a message
INTEGER_PEAK = 100.0  # floats beyond this are most likely integers that nobody has scaled


class Overs:
    """Counts samples of magnitude above 1, and keeps the largest magnitude."""

    def __init__(self) -> None:
        self.n_samples = 0  # beyond full scale, in all channels
        self.peak = 0.0

    def add(self, block: np.ndarray) -> None:
        """Count the samples of a block of any shape."""
        peak = max(float(block.max()), -float(block.min())) if block.size else 0.0
        self.peak = max(self.peak, peak)
        if peak > 1:
            self.n_samples += int(np.count_nonzero(np.abs(block) > 1))

    @property
    def peak_db(self) -> float:
        """Peak in dB over full scale; 0 if no sample is beyond it."""
        return 20 * log10(max(self.peak, 1.0))

    def is_notable(self, is_lossy: bool) -> bool:
        """Return True if the user should know. Sources in a lossy format may go beyond full scale by 3 dB."""
        return self.peak > (LOSSY_OVERSHOOT if is_lossy else 1.0)

    def __str__(self) -> str:
        db = f"up to {self.peak_db:.1f} dB" if self.peak_db >= 0.05 else "less than 0.1 dB"
        return f"{self.n_samples} sample{' is' if self.n_samples == 1 else 's are'} beyond full scale, by {db}"


def counting(blocks: Iterable[np.ndarray], overs: Overs) -> Iterator[np.ndarray]:
    """Yield the blocks, and count the samples of each in `overs`."""
    for block in blocks:
        overs.add(block)
        yield block


def encoding_note(overs: Overs) -> str:
    """Return a line about a source that was encoded with samples beyond full scale."""
    if overs.peak > INTEGER_PEAK:
        return f"{overs}: these look like integers stored as floats; they were coded as they are, but scale them to -1..1 first"
    lower = f"lower the level, for example with ffmpeg -i IN -af volume=-{max(1, ceil(overs.peak_db))}dB OUT"
    return f"{overs}; they were coded as they are, at some cost in quality: {lower}"


def clipping_note(overs: Overs, has_float: bool) -> str:
    """Return a line about decoded audio that was clipped. `has_float`: the output's format has float samples too."""
    return f"{overs}, and clipped; {'--bits float' if has_float else '--format wav --bits float'} keeps the peaks"
