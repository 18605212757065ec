"""Codec2: parametric speech at 8 kHz, by libcodec2."""

from ...format.errors import ArgumentError
from .ffmpeg import Ffmpeg

MODES = {3.2: "3200", 2.4: "2400", 1.6: "1600", 1.4: "1400", 1.3: "1300", 1.2: "1200"}  # kbps: mode
RATES = (1.2, 3.2)  # kbps, in a default run


def make(kbps: float) -> Ffmpeg:
    """Return the codec at one of its bitrates; raises ValueError for any other."""
    if kbps not in MODES:
        raise ArgumentError(f"Codec2 has {', '.join(f'{rate:g}' for rate in MODES)} kbps, not {kbps:g}")
    return Ffmpeg("Codec2", kbps, "libcodec2", "c2", ("-ar", "8000", "-mode", MODES[kbps]))
