"""AAC-LC by ffmpeg's own encoder, in ADTS frames."""

from .ffmpeg import Ffmpeg

RATES = (24.0, 32.0)  # kbps, in a default run


def make(kbps: float) -> Ffmpeg:
    """Return the codec at a bitrate."""
    return Ffmpeg("AAC", kbps, "aac", "aac", ("-b:a", f"{kbps:g}k"))
