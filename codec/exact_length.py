"""Cut decoded blocks to exactly the length that the stream gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..format import Corrupt, Header
from ..format.timing import resampled_length
from .audio import Resampler


def trim_to_length(
    blocks: Iterable[np.ndarray], skip: int, hold: int, length: Callable[[], int | None]
) -> Iterator[np.ndarray]:
    """Drop the first `skip` samples and everything after `length()`.

    While the length is unknown, as on a pipe, the last `hold` samples are held back, because they may be padding.
    """
    held: np.ndarray | None = None
    n_out = 0
    for block in blocks:
        block, skip = block[..., skip:], max(0, skip - block.shape[-1])
        held = block if held is None else np.concatenate([held, block], axis=-1)
        known = length()
        n_ready = max(0, held.shape[-1] - hold) if known is None else min(held.shape[-1], known - n_out)
        if n_ready > 0:
            yield held[..., :n_ready]
            held, n_out = held[..., n_ready:], n_out + n_ready
        if known is not None and n_out >= known:
            held = None  # all wanted samples are done; do not collect what follows
    known = length()
    known = n_out if known is None else known
    if known < n_out:
        raise Corrupt(0, f"the codes go on for more than a frame after the {known} samples that the END chunk states")
    if held is not None and known > n_out:
        yield held[..., : known - n_out]


def resample_to_length(
    blocks: Iterable[np.ndarray], from_rate: int, to_rate: int, length: Callable[[], int | None]
) -> Iterator[np.ndarray]:
    """Resample blocks [C, n] to exactly `length()` samples, which must be known by the last block.

    Raises Corrupt if more samples than that were already passed on before the length was known.
    """
    resampler, n_out, channels = None, 0, 1
    for block in blocks:
        channels = block.shape[0]
        resampler = resampler or Resampler(from_rate, to_rate, channels)
        block, known = resampler(block), length()
        block = block if known is None else block[:, : max(0, known - n_out)]
        n_out += block.shape[1]
        yield block
    rest = resampler(np.zeros((channels, 0), np.float32), last=True) if resampler else np.zeros((channels, 0), np.float32)
    missing = (length() or 0) - n_out
    if missing < 0:
        raise Corrupt(0, f"the audio goes on after the {n_out + missing} samples that the END chunk states")
    yield np.pad(rest, ((0, 0), (0, max(0, missing - rest.shape[1]))))[:, :missing]


def length_at(rate: int, header: Header, n_samples: int | None, original_n_samples: int | None) -> int | None:
    """Return how many samples a stream of these lengths (None: unknown) gives at `rate` Hz."""
    if n_samples is None or original_n_samples is None or rate == header.original_sample_rate:
        return original_n_samples
    from_codec = resampled_length(n_samples, header.sample_rate, rate)
    return min(from_codec, resampled_length(original_n_samples, header.original_sample_rate, rate))
