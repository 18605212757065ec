"""Audio in and out: one import for reading (audio_in.py), writing (audio_out.py), resampling and channels.

Everything works block by block, so an hour needs no more memory than a second.
"""

from __future__ import annotations

from .audio_in import READABLE_SUFFIXES, AudioInfo, AudioSource
from .audio_out import AudioSink, format_of, to_int16, wave_header
from .channels import fold_channels
from .errors import AudioError
from .resample import Resampler, resample_all

__all__ = [
    "READABLE_SUFFIXES", "AudioError", "AudioInfo", "AudioSink", "AudioSource", "Resampler", "fold_channels", "format_of",
    "resample_all", "to_int16", "wave_header",
]  # fmt: skip
