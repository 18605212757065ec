"""What a decoder plays where frames are missing.

Codecs that were trained with missing frames fill gaps by themselves ("learned"): they decode frames with no codebooks. For
others the last frame is repeated. The entropy prior also predicts a likely next frame ("likely"), but this scores no better
than a repetition (`ecdc bench loss`). Whatever fills a gap fades after a while, because
nothing is known about the sound by then.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..codec.config import CodecConfig, SplitConfig
from ..format import Header
from ..format.entropy.continuation import most_likely
from ..format.entropy.installed_priors import find_prior
from ..format.errors import ArgumentError

FADE_START, FADE_END = 0.06, 0.12  # seconds of missing sound at which its gain begins to fall, and at which it is zero
CONTEXT_FRAMES = 40  # that the prior sees
METHODS = "auto", "learned", "likely", "repeat", "silence"


class Filler:
    """Gives codes [k, 1] for missing frames of one stream, by one of METHODS. "auto" is the best that a codec has.

    Raises ValueError if the method needs a prior that is not here.
    """

    def __init__(self, config: CodecConfig, header: Header, method: str = "auto") -> None:
        prior = find_prior(header.token_space) if method == "likely" else None
        if method == "auto":
            method = "learned" if isinstance(config.architecture, SplitConfig) else "repeat"
        if method == "likely" and prior is None:
            raise ArgumentError(f"concealment likely needs an entropy prior for {config.name}, and there is none")
        self.method, self._prior = method, prior if method == "likely" else None
        self._known = np.zeros((0, 0), np.uint16)  # codes of the last frames

    def hear(self, codes: NDArray[np.uint16]) -> None:
        """Take note of received codes [K, t]."""
        if codes.shape[0] != self._known.shape[0]:
            self._known = np.zeros((codes.shape[0], 0), np.uint16)  # the prior needs frames of one K
        self._known = np.concatenate([self._known, codes], axis=1)[:, -CONTEXT_FRAMES:]

    def fill(self) -> NDArray[np.uint16]:
        """Return codes for one missing frame; [0, 1] if the decoder has nothing or needs nothing."""
        nothing = np.zeros((0, 1), np.uint16)
        if self.method in ("learned", "silence") or not self._known.size:
            return nothing
        if self._prior is None:
            return self._known[:, -1:]
        codes = most_likely(self._prior, self._known)
        self._known = np.concatenate([self._known, codes], axis=1)[:, -CONTEXT_FRAMES:]
        return codes


def fading_gain(n_missing: int, frame_seconds: float) -> float:
    """Return the gain at the end of the n-th missing frame in a row; 1 for none."""
    seconds = n_missing * frame_seconds
    return float(np.clip((FADE_END - seconds) / (FADE_END - FADE_START), 0.0, 1.0))
