"""Vorbis by libvorbis, set by quality, because its bitrate management wastes bytes on short files."""

import math

from .ffmpeg import Ffmpeg

RATES = (24.0, 32.0)  # kbps, in a default run
NOMINAL = {-1: 20.0, 0: 26.0, 1: 33.0, 2: 40.0, 3: 50.0, 4: 58.0, 6: 76.0}  # quality: typical kbps at 24 kHz mono


def make(kbps: float) -> Ffmpeg:
    """Return the codec at the quality whose typical bitrate is nearest to `kbps`."""
    quality = min(NOMINAL, key=lambda q: abs(math.log(NOMINAL[q] / kbps)))
    return Ffmpeg("Vorbis", kbps, "libvorbis", "ogg", ("-q:a", str(quality)))
