"""Codecs under test, one module each. A module has `RATES` and `make(kbps)`, and its name is the codec's name.

A codec is named as `NAME` or `NAME:KBPS,KBPS`: `opus:6,12`, `mp3`, `nano-24k:6`, or a path to an EnCodec checkpoint.
`pcm` is 16-bit audio at the reference's rate, `pcm24` at 24 kHz. `anchors` are noise, two low-pass filters and PCM.
"""

from __future__ import annotations

import importlib
from typing import Any

from ...format.errors import ArgumentError
from .anchors import LowPass, Noise, Pcm
from .base import Coded, Coder, Missing

OTHERS = ("opus", "mp3", "aac", "vorbis", "speex", "codec2")
ANCHORS = ("noise", "low-pass 3.5 kHz", "low-pass 7 kHz", "PCM")

__all__ = ["ANCHORS", "OTHERS", "Coded", "Coder", "Missing", "parse"]


def parse(text: str, seed: int = 0) -> list[Coder]:
    """Return the codecs for `NAME[:KBPS,...]`; raises ValueError, CheckpointError or ConfigError if they do not exist."""
    name, _, listed = text.rpartition(":") if _is_rates(text.rpartition(":")[2]) and ":" in text else (text, "", "")
    rates = [float(rate) for rate in listed.split(",")] if listed else []
    if any(not 0 < rate <= 1000 for rate in rates):
        raise ArgumentError(f"{text}: bitrates are kbps above 0 and up to 1000")
    if name == "anchors":
        return [Noise(seed), LowPass(3500.0), LowPass(7000.0), Pcm()]
    if name in ("pcm", "pcm24"):
        return [Pcm(24_000 if name == "pcm24" else None)]
    if name in OTHERS:
        module: Any = importlib.import_module(f".{name}", __package__)
        return [module.make(rate) for rate in rates or module.RATES]
    from . import ours

    return [ours.make(name, rate) for rate in rates or ours.rates(name)]


def _is_rates(text: str) -> bool:
    try:
        return bool([float(part) for part in text.split(",")])
    except ValueError:
        return False
