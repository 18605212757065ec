"""Vorbis by libvorbis, quality scale: its bitrate management wastes bytes on short files."""

import math

from .ffmpeg import Ffmpeg

RATES = (24.0, 32.0)  # kbps, of a default run
NOMINAL = {-1: 20.0, 0: 26.0, 1: 33.0, 2: 40.0, 3: 50.0, 4: 58.0, 6: 76.0}  # about what each quality takes at 24 kHz mono


def make(kbps: float) -> Ffmpeg:
    """The codec at about a bitrate: the quality whose usual rate is nearest."""
    quality = min(NOMINAL, key=lambda q: abs(math.log(NOMINAL[q] / kbps)))
    return Ffmpeg("Vorbis", kbps, "libvorbis", "ogg", ("-q:a", str(quality)))
