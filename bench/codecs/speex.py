"""Speex in its wideband mode (16 kHz), by libspeex."""

from .ffmpeg import Ffmpeg

RATES = (8.0, 16.0)  # kbps, in a default run


def make(kbps: float) -> Ffmpeg:
    """Return the codec at a bitrate."""
    return Ffmpeg("Speex", kbps, "libspeex", "spx", ("-ar", "16000", "-b:a", f"{kbps:g}k"))
