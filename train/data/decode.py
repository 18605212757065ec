"""Decode one audio file at a requested rate, and measure its native rate and the bandwidth that it really uses."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .sources import Source

MIN_SECONDS, MIN_PEAK = 0.3, 0.01
FADE_SECONDS = 0.005  # at both ends, so that there is no click between two files
SAME_SIDES_DB = -70.0  # if left minus right is below this level, relative to their sum, the file counts as mono
SIDES_STEP = 7  # only every seventh sample is compared for this

BAND_HZ, N_FFT, MAX_FRAMES = 250.0, 2048, 400  # for measuring bandwidth
ACTIVE_DB = -30.0  # frames this much quieter than the loudest are ignored
NOISE_DB = -101.1 + 6.0  # per bin: the rounding noise of 16 bits, plus a margin
CLIFF_DB, LOWEST_CLIFF = 20.0, 3000.0  # a fall of this much within 1 kHz, from this frequency (Hz) on, is a low-pass filter


@dataclass(frozen=True, slots=True)
class Clip:
    """One decoded file, int16 [N, C] with C 1 or 2."""

    audio: NDArray[np.int16]
    native_rate: int  # Hz, of the file
    bandwidth: int  # Hz, see `bandwidth`


def decode_g722(data: bytes) -> tuple[NDArray[np.float32], int]:
    """Decode headerless 64 kbps G.722 (as bundled with Asterisk) to float32 [N], 16 kHz."""
    import av  # libsndfile does not read G.722

    with av.open(io.BytesIO(data), mode="r", format="g722") as container:
        frames = [f.to_ndarray() for f in container.decode(audio=0)]
    return np.concatenate(frames, axis=-1).ravel().astype(np.float32) / np.float32(32768), 16_000


def decode(source: Source, sample_rate: int, channels: int) -> Clip | str:
    """Decode a file to at most `channels` (1 or 2). For an unusable file, return the reason instead of raising.

    Equal channels become one, more than two are mixed down to one, and both ends are faded.
    """
    try:
        data = source.read()
        if source.name.endswith(".g722"):
            mono, rate = decode_g722(data)
            audio = mono[:, None]
        else:
            audio, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except Exception as error:  # a corrupt file among thousands is counted, not fatal
        return f"unreadable ({type(error).__name__})"
    if len(audio) < MIN_SECONDS * rate:
        return "shorter than 0.3 s"
    peak = peak_of(audio)
    if not np.isfinite(peak) or peak < MIN_PEAK:
        return "silent" if np.isfinite(peak) else "not finite"
    audio = mix_down(audio, channels)
    band = bandwidth(audio, rate)
    audio = soxr.resample(audio, rate, sample_rate, quality="HQ")  # exact to 20 bits; we keep 16
    peak = peak_of(audio)
    if peak < MIN_PEAK:
        return "silent"
    fade(audio, round(FADE_SECONDS * sample_rate))
    return Clip(to_int16(audio / max(1.0, peak)), rate, band)


def mix_down(audio: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Mix audio [N, C] to one channel, or keep two if there are exactly two that differ and `channels` allows it."""
    if audio.shape[1] == 1:
        return audio
    if channels == 2 and audio.shape[1] == 2:
        left, right = audio[::SIDES_STEP].T
        if np.square(left - right).mean() > 10 ** (SAME_SIDES_DB / 10) * np.square(left + right).mean():
            return audio
    return audio.mean(1, keepdims=True)


def fade(audio: NDArray[np.float32], n_samples: int) -> None:
    """Fade both ends of audio [N, C] in place."""
    ramp = (np.sin(0.5 * np.pi * (np.arange(n_samples) + 0.5) / n_samples) ** 2)[:, None]
    audio[:n_samples] *= ramp
    audio[-n_samples:] *= ramp[::-1]


def to_int16(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round audio in [-1, 1] to little-endian int16."""
    scaled = audio * np.float32(32767)
    return np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled).astype("<i2")


def peak_of(audio: NDArray[np.float32]) -> float:
    """Return the largest magnitude, or NaN if any sample is NaN."""
    return max(float(audio.max()), -float(audio.min()))


def bandwidth(audio: NDArray[np.float32], sample_rate: int) -> int:
    """Estimate the frequency (Hz) up to which audio [N, C] contains sound.

    This is the highest band above the rounding noise of 16 bits, or the edge of a steep low-pass
    below it: a 44.1 kHz file made from a 22.05 kHz one has 11 kHz, and an MP3 often has 16 kHz. Only
    the louder parts are measured.
    """
    levels = band_levels(audio, sample_rate)
    above = np.flatnonzero(levels > NOISE_DB)
    n_bands = int(above[-1]) + 1 if len(above) else 0
    highest_after = np.maximum.accumulate(levels[::-1])[::-1]  # maximum over this band and those above
    span = round(1000 / BAND_HZ)
    for edge in range(round(LOWEST_CLIFF / BAND_HZ), n_bands - 1):
        if levels[edge - span : edge].mean() - highest_after[edge + 1] >= CLIFF_DB:
            return round(edge * BAND_HZ)
    return round(min(n_bands * BAND_HZ, sample_rate / 2))


def band_levels(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the mean level (dB per bin) of the active parts of audio [N, C], in bands of BAND_HZ."""
    if len(audio) < N_FFT:
        audio = np.pad(audio, ((0, N_FFT - len(audio)), (0, 0)))
    starts = np.unique(np.linspace(0, len(audio) - N_FFT, min(MAX_FRAMES, max(1, 2 * len(audio) // N_FFT))).astype(int))
    window = np.hanning(N_FFT).astype(np.float32)
    power = np.zeros((len(starts), N_FFT // 2 + 1))
    for channel in audio.T:
        frames = np.stack([channel[s : s + N_FFT] for s in starts]) * window
        power += np.abs(np.fft.rfft(frames)) ** 2 / (window @ window) / audio.shape[1]
    energy = power.sum(1)
    spectrum = power[energy >= energy.max() * 10 ** (ACTIVE_DB / 10)].mean(0)
    places = (np.arange(len(spectrum)) * sample_rate / N_FFT / BAND_HZ).astype(int)
    n_bins = np.bincount(places)
    mean = np.bincount(places, spectrum) / np.maximum(n_bins, 1)
    return 10 * np.log10(mean[n_bins > 0] + 1e-30)
