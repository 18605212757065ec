"""Render notes to audio: FluidSynth in this process, a reverb, and a realistic level."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ctypes import c_int, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from ...format.errors import EcdcError
from .compose import SECONDS
from .labels import Piece, Track

OVERSAMPLING = 2  # because FluidSynth's interpolation would alias cymbals above half the sample rate
RMS_DB, MAX_PEAK = (-25.0, -17.0), 0.95
DRUM_BANK = 128
SOUNDFONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf2/TimGM6mb.sf2"),
    Path("/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
)
MISSING = "apt-get install libfluidsynth3 fluid-soundfont-gm timgm6mb-soundfont, pip install -e '.[train]'"


class SynthesisError(EcdcError, ValueError):
    """A synthesiser or soundfont is missing; one line that says what to install."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """Audio of a piece: mix [C, N], and its melody alone [N] at its level in the mix, or None if it has none."""

    mix: np.ndarray
    melody: np.ndarray | None


def find_soundfonts(named: Sequence[Path] = ()) -> list[Path]:
    """Return the named soundfonts, or the known ones that are installed.

    Raises SynthesisError if one of them or the synthesiser is missing.
    """
    _library()
    for path in named:
        if not path.is_file():
            raise SynthesisError(f"{path}: no such soundfont")
    found = list(named) or [path for path in SOUNDFONTS if path.exists()]
    if not found:
        raise SynthesisError(f"no soundfont is installed: {MISSING}; or name one with --soundfont")
    return found


def _library() -> Any:
    """Import pyfluidsynth, which also raises ImportError if the C library is missing."""
    try:
        import fluidsynth
    except ImportError as error:
        raise SynthesisError(f"FluidSynth is not installed: {MISSING}") from error
    return fluidsynth


class Renderer:
    """Plays pieces with one soundfont. Equal pieces give equal samples, whatever was played before."""

    def __init__(self, soundfont: Path, sample_rate: int = 24_000) -> None:
        find_soundfonts([soundfont])
        self.soundfont, self.sample_rate = soundfont, sample_rate
        library = _library()
        integer, address = (c_int, 1), (c_void_p, 1)
        names = ("len", "left", "left_offset", "left_step", "right", "right_offset", "right_step")
        kinds = (integer, address, integer, integer, address, integer, integer)
        arguments = [(name, *kind) for name, kind in zip(names, kinds, strict=True)]
        # pyfluidsynth only offers 16-bit output, whose dither differs from call to call.
        self._write = library.cfunc("fluid_synth_write_float", c_int, ("synth", c_void_p, 1), *arguments)
        # FluidSynth keeps samples in memory while any synth uses them, so later synths open in milliseconds.
        self._anchor = self._synth()

    def render(self, piece: Piece, channels: int) -> Rendering:
        """Play a piece. One channel is the mean of two. Deterministic."""
        rng = random.Random(f"room {piece.seed}")
        melody = [track for track in piece.tracks if track.role == "melody"]
        others = [track for track in piece.tracks if track.role != "melody"]
        lead, rest = (self._play(tracks, piece.labels.tempo_bpm) for tracks in (melody, others))
        mix = _with_room(lead + rest, rng.uniform(0.4, 1.4), rng.uniform(0.06, 0.22), self.sample_rate)
        mix = mix.mean(axis=0, keepdims=True) if channels == 1 else mix
        gain = 10 ** (rng.uniform(*RMS_DB) / 20) / max(float(np.sqrt(np.mean(mix**2))), 1e-6)
        gain = min(gain, MAX_PEAK / max(float(np.abs(mix).max()), 1e-6))
        alone = (gain * lead.mean(axis=0)).astype(np.float32) if melody else None
        return Rendering((gain * mix).astype(np.float32), alone)

    def _synth(self) -> tuple[Any, int]:
        """Return a new synthesiser without effects, and the soundfont's number in it."""
        options = {"synth.reverb.active": 0, "synth.chorus.active": 0}
        synth = _library().Synth(gain=0.3, samplerate=OVERSAMPLING * self.sample_rate, channels=16, **options)
        number = synth.sfload(str(self.soundfont))
        if number < 0:
            synth.delete()
            raise SynthesisError(f"{self.soundfont}: no soundfont that FluidSynth can read")
        return synth, number

    def _play(self, tracks: list[Track], bpm: int) -> np.ndarray:
        """Play tracks together without reverb: [2, N] float64 at `sample_rate`."""
        rate = OVERSAMPLING * self.sample_rate
        n_samples = round(SECONDS * rate)
        wav = np.zeros((2, n_samples), np.float32)
        if tracks:
            # A used synthesiser keeps state: releasing voices, filters, controllers.
            synth, number = self._synth()
            try:
                self._run(synth, number, tracks, rate * 60 / bpm, wav)
            finally:
                synth.delete()
        return soxr.resample(wav.T.astype(np.float64), rate, self.sample_rate, quality="HQ").T

    def _run(self, synth: Any, number: int, tracks: list[Track], samples_per_beat: float, wav: np.ndarray) -> None:
        events: list[tuple[int, int, int, int, int]] = []  # sample, 1 on or 0 off, channel, pitch, velocity
        for track in tracks:
            bank = DRUM_BANK if track.is_drum else 0
            if synth.program_select(track.channel, number, bank, track.program) < 0:
                synth.program_select(track.channel, number, bank, 0)
            synth.cc(track.channel, 7, track.volume)
            synth.cc(track.channel, 10, round(64 + 63 * track.pan))
            for note in track.notes:
                start, stop = (round(beat * samples_per_beat) for beat in (note.start, note.start + note.duration))
                events += [(start, 1, track.channel, note.pitch, note.velocity), (stop, 0, track.channel, note.pitch, 0)]
        time, end = 0, wav.shape[1]
        for sample, is_on, channel, pitch, velocity in sorted(events):
            self._fill(synth, wav, time, min(sample, end))
            time = min(sample, end)
            if is_on:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        self._fill(synth, wav, time, end)

    def _fill(self, synth: Any, wav: np.ndarray, start: int, stop: int) -> None:
        if stop > start:
            left, right = wav[0].ctypes.data, wav[1].ctypes.data
            self._write(synth.synth, stop - start, left, start, 1, right, start, 1)


def _with_room(wav: np.ndarray, seconds: float, wet: float, sample_rate: int) -> np.ndarray:
    """Add reverb (decaying noise) to [2, N]; `wet` is its energy relative to the dry sound."""
    n_samples, n_tail = wav.shape[1], round(seconds * sample_rate)
    tail = np.random.default_rng(0).standard_normal((2, n_tail + 1))
    tail = (tail[:, 1:] + tail[:, :-1]) * 10 ** (-3 * np.arange(n_tail) / n_tail)  # darker than white noise; -60 dB at the end
    tail /= np.sqrt((tail**2).sum(axis=1, keepdims=True))
    size = 1 << (n_samples + n_tail - 1).bit_length()
    reverberation = np.fft.irfft(np.fft.rfft(wav, size) * np.fft.rfft(tail, size), size)[:, :n_samples]
    return wav + np.sqrt(wet) * reverberation
