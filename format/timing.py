"""Exact conversions between samples, frames, seconds and kilobits, in integers and fractions only.

N counts samples and T counts frames; a frame covers `hop_length` samples. No floats are used, because at some lengths
they would be off by one frame, and every later code would be shifted.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from .arguments import whole_number
from .errors import ArgumentError


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up, for b > 0."""
    return -(-a // b)


def frames_for(n_samples: int, hop_length: int) -> int:
    """Return T, the number of frames that cover `n_samples`."""
    return ceil_div(n_samples, hop_length)


def frame_rate(sample_rate: int, hop_length: int) -> Fraction:
    """Return the frames per second, exactly."""
    return Fraction(sample_rate, hop_length)


def seconds(n_samples: int, sample_rate: int) -> Fraction:
    """Return the duration of `n_samples` in seconds."""
    return Fraction(n_samples, sample_rate)


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples at `to_rate` cover `n_samples` at `from_rate`."""
    return ceil_div(n_samples * to_rate, from_rate)


def code_bits(codebook_size: int) -> int:
    """Return the bits of one code in [0, codebook_size), that is ceil(log2 V)."""
    return (codebook_size - 1).bit_length()


def packed_bytes(n_codes: int, bits: int) -> int:
    """Return the bytes needed for `n_codes` codes of `bits` bits each."""
    return ceil_div(n_codes * bits, 8)


def kbps(n_bytes: int, duration: Fraction) -> Fraction:
    """Return the bitrate in kbps of `n_bytes` that code `duration` seconds."""
    return Fraction(8 * n_bytes, 1000) / duration


def nominal_kbps(rate: Fraction, codes_per_frame: int, bits: int) -> Fraction:
    """Return the kbps of the codes alone: no header, framing or entropy coding. `rate` is in frames per second."""
    return rate * codes_per_frame * bits / 1000


def check_start(start_frame: int, n_frames: int | None) -> None:
    """Raise ValueError if frames are to begin after the last one of `n_frames`; None: not known yet."""
    if n_frames is not None and start_frame > n_frames:
        raise ArgumentError(f"frames from {start_frame} on were asked for, the stream has {n_frames}")


def segment_spans(n_samples: int, length: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) in samples of every independently coded segment.

    Segments start at each multiple of `stride` below `n_samples`, even if the previous one already reaches the end.
    A length of 0 means that the audio is one segment.
    """
    length, stride = length or n_samples, stride or n_samples
    return ((start, min(start + length, n_samples)) for start in range(0, n_samples, stride or 1))


def check_range(start_frame: int, stop_frame: int | None) -> None:
    """Raise ValueError unless [start_frame, stop_frame) is a valid range of frames; None: to the end."""
    whole_number("start_frame", start_frame)
    if stop_frame is not None:
        whole_number("stop_frame", stop_frame)
    if not 0 <= start_frame <= (start_frame if stop_frame is None else stop_frame):
        raise ArgumentError(f"frames {start_frame} to {stop_frame} are not a range")
