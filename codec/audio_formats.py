"""Capabilities of each audio format: rates, channels, sample formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..format.files import is_special
from ..format.timing import ceil_div
from .errors import AudioError

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
PCM = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}


def _any_rate(rate: int) -> int:
    return min(max(rate, MIN_RATE), MAX_RATE)


def _one_of(*rates: int) -> Callable[[int], int]:
    """Return a function to the lowest of `rates` not below a given one, else to the highest."""
    return lambda rate: min((r for r in rates if r >= rate), default=max(rates))


def _flac_rate(rate: int) -> int:
    """FLAC frame headers store the rate in 16 bits, in Hz or in tens of Hz."""
    rate = _any_rate(rate)
    return rate if rate <= 65_535 else min(10 * ceil_div(rate, 10), 384_000 if rate > 655_350 else 655_350)


def _vorbis_rate(rate: int) -> int:
    return _any_rate(rate) if rate <= 200_000 else 192_000


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """An audio format that can be written."""

    name: str  # for messages
    container: str  # libsndfile's name; "M4A" is PyAV's
    subtypes: dict[str, str]  # libsndfile's name of each sample format that `bits` can select; "" for a lossy format
    next_rate: Callable[[int], int] = _any_rate  # a rate in Hz -> itself if supported, else the next supported rate
    most_channels: int = 255
    most_bytes: int | None = None
    may_be_empty: bool = True  # a file without samples can be read

    def subtype(self, bits: str | None) -> str:
        """Return libsndfile's subtype for `bits`: "16", "24", "float", or None for the default; AudioError if unsupported."""
        if bits is None:
            return next(iter(self.subtypes.values()))
        if bits not in self.subtypes:
            known = " or ".join(b for b in self.subtypes if b)
            raise AudioError(
                f"{self.name} holds samples of {known} bits, not {bits}: use --bits {known.split()[0]}, or wav"
                if known
                else f"{self.name} is lossy and has no bits per sample: leave --bits out, or use wav or flac"
            )
        return self.subtypes[bits]

    def check(self, name: str, channels: int, n_bytes: int | None) -> None:
        """Raise AudioError, starting with `name`, if the format cannot hold that many channels or bytes (None: unknown)."""
        if channels > self.most_channels:
            raise AudioError(f"{name}: {self.name} holds {self.most_channels} channels at most, not {channels}; use wav")
        if self.most_bytes is not None and (n_bytes or 0) > self.most_bytes:
            raise AudioError(f"{name}: {self.name} holds 4 GiB at most, this is more; use wav or flac")

    def check_complete(self, name: str, n_bytes: int) -> None:
        """Raise AudioError, starting with `name`, if the format cannot hold audio that ends after `n_bytes`."""
        if not n_bytes and not self.may_be_empty:
            raise AudioError(f"{name}: {self.name} cannot hold audio without any samples; use wav")


OPUS_RATES, MP3_RATES = (8_000, 12_000, 16_000, 24_000, 48_000), (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
)  # fmt: skip
AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
WAV = AudioFormat("WAV", "WAV", PCM)
FLAC = AudioFormat("FLAC", "FLAC", {"16": "PCM_16", "24": "PCM_24"}, _flac_rate, 8, may_be_empty=False)
VORBIS = AudioFormat("Ogg Vorbis", "OGG", {"": "VORBIS"}, _vorbis_rate)
OPUS = AudioFormat("Opus", "OGG", {"": "OPUS"}, _one_of(*OPUS_RATES), may_be_empty=False)
MP3 = AudioFormat("MP3", "MP3", {"": "MPEG_LAYER_III"}, _one_of(*MP3_RATES), 2, may_be_empty=False)
M4A = AudioFormat("M4A", "M4A", {"": "AAC"}, _one_of(*AAC_RATES), 2, may_be_empty=False)
AIFF = AudioFormat("AIFF", "AIFF", PCM, most_bytes=2**32 - 2**16)
AU = AudioFormat("AU", "AU", PCM)
FORMS = {
    "wav": WAV, "flac": FLAC, "ogg": VORBIS, "oga": VORBIS, "opus": OPUS, "mp3": MP3, "m4a": M4A, "aiff": AIFF, "aif": AIFF,
    "au": AU,
}  # fmt: skip


def format_of(path: str | Path, form: str | None = None) -> AudioFormat:
    """Return the format of an output, by the name `form` or by its suffix; '-' and devices are WAV.

    Raises AudioError for unknown formats.
    """
    name = form.lower() if form else Path(path).suffix.lower()[1:]
    if form is None and (str(path) == "-" or (name not in FORMS and is_special(path))):
        return WAV
    if not name:
        raise AudioError(f"{path}: its name has no suffix that tells the format; add one, such as .wav, or use --format")
    if name not in FORMS:
        raise AudioError(f"{path}: unknown audio format {name!r} (known: {', '.join(sorted(FORMS))})")
    return FORMS[name]
