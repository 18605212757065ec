"""Compose melodies, accompaniments, bass lines and beats as notes over a sequence of chords."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .labels import Note
from .music_theory import ACCOMPANIMENTS, BASS_LINES, BEATS, CRASH, RHYTHMS, SCALES, SNARE, Chord, Instrument, Mood

FORMS = ("ABAC", "AABC", "ABAB", "AAAB")  # bars of a phrase; equal letters use the same motif


@dataclass(frozen=True, slots=True)
class Sketch:
    """What all parts of a piece share."""

    tonic: int  # pitch class, 0 = C
    mode: str
    mood: Mood
    density: str
    beats: int  # in a bar
    chords: tuple[Chord, ...]  # one per bar

    @property
    def scale(self) -> frozenset[int]:
        """Pitch classes of the key."""
        return frozenset((self.tonic + step) % 12 for step in SCALES[self.mode])


def nearest(pitch: int, classes: tuple[int, ...] | frozenset[int]) -> int:
    """Return the pitch nearest to `pitch` that is in one of `classes`; the lower one of two."""
    return _closest([p for p in range(pitch - 6, pitch + 6) if p % 12 in classes], pitch)


def _closest(pitches: list[int], pitch: int) -> int:
    return min(pitches, key=lambda p: (abs(p - pitch), p))


def _motif(sketch: Sketch, rng: random.Random) -> tuple[tuple[float, ...], list[int]]:
    """Return the rhythm of a bar, and a scale step for each of its lengths."""
    rhythm = rng.choice(RHYTHMS[sketch.density, sketch.beats])
    return rhythm, rng.choices((-3, -2, -1, 0, 1, 2, 3), (1, 3, 8, 2, 8, 3, 1), k=len(rhythm))


def _bar(sketch: Sketch, bar: int, rhythm: tuple[float, ...], steps: list[int], pitches: list[int], anchor: int) -> list[Note]:
    """Play a motif over one bar's chord. It starts on chord tones, and its long notes are chord tones."""
    chord = sketch.chords[bar]
    # Chord tones outside the key (a leading note, a lowered second) replace the scale tones next to them.
    strange = [c for c in chord.classes if c not in sketch.scale]
    allowed = [p for p in pitches if p % 12 in chord.classes or not any((p - c) % 12 in (1, 11) for c in strange)]
    tones = [p for p in allowed if p % 12 in chord.classes]
    at = allowed.index(_closest(tones, anchor))
    notes, time = [], bar * float(sketch.beats)
    for i, (length, step) in enumerate(zip(rhythm, steps, strict=True)):
        if length > 0:
            if i:
                at = at + step if 0 <= at + step < len(allowed) else at - step
                at = min(max(at, 0), len(allowed) - 1)
            pitch = allowed[at]
            if length >= 1.5 or (i and (time - bar * sketch.beats) % 2 == 0):
                ahead = [p for p in tones if (p >= pitch if step > 0 else p <= pitch)]
                pitch = _closest(ahead or tones, pitch)
                at = allowed.index(pitch)
            notes.append(Note(time, length * sketch.mood.legato, pitch, sketch.mood.velocity))
        time += abs(length)
    return notes


def melody(sketch: Sketch, instrument: Instrument, rng: random.Random) -> list[Note]:
    """Compose one-bar motifs into phrases of four bars; phrases repeat with an occasional changed step."""
    low, high = instrument.low, instrument.high
    classes = sketch.scale | {c for chord in sketch.chords for c in chord.classes}
    pitches = [p for p in range(low, high + 1) if p % 12 in classes]
    anchor = round(low + sketch.mood.register * (high - low))
    motifs = {letter: _motif(sketch, rng) for letter in "ABC"}
    form = rng.choice(FORMS)
    ending: tuple[float, ...] = (2.0, float(sketch.beats - 2)) if rng.random() < 0.5 else (float(sketch.beats),)
    notes = []
    for bar in range(len(sketch.chords)):
        rhythm, steps = motifs[form[bar % 4]]
        if bar % 4 == 3 and rng.random() < 0.6:
            rhythm, steps = ending, [0] * len(ending)
        elif bar >= 4 and rng.random() < 0.25:
            place = rng.randrange(len(steps))
            steps = [*steps[:place], rng.choice((-2, -1, 1, 2)), *steps[place + 1 :]]
        notes += _bar(sketch, bar, rhythm, steps, pitches, anchor)
    return notes


def voicing(chord: Chord, centre: int) -> list[int]:
    """Return the tones of a chord around a pitch, ascending, which keeps movement between chords small."""
    return sorted({nearest(centre, (c,)) for c in chord.classes})


def _tones(symbol: str, sketch: Sketch, bar: int, centre: int, bass: int) -> list[int]:
    """Return the pitches of one character of ACCOMPANIMENTS or BASS_LINES."""
    chord = sketch.chords[bar]
    voices = voicing(chord, centre)
    root = nearest(bass, (chord.root,))
    if symbol == "c":
        return voices
    if symbol.isdigit():
        octave, index = divmod(int(symbol), min(3, len(voices)))
        return [voices[index] + 12 * octave]
    if symbol == "a":
        following = nearest(bass, (sketch.chords[(bar + 1) % len(sketch.chords)].root,))
        step = nearest(following + (2 if root > following else -2), sketch.scale)
        return [step]
    return [root + {"r": 0, "o": 12, "t": (chord.classes[1] - chord.root) % 12, "f": 7}[symbol]]


def pattern(sketch: Sketch, lines: tuple[str, str], centre: int, bass: int, legato: float) -> list[Note]:
    """Return the notes of a pattern from a table, bar after bar."""
    line = lines[sketch.beats == 3]
    notes = []
    for bar in range(len(sketch.chords)):
        for place, symbol in enumerate(line):
            if symbol in "-.":
                continue
            held = len(line[place + 1 :]) - len(line[place + 1 :].lstrip("-"))
            start, length = bar * sketch.beats + place / 2, (1 + held) / 2
            accent = 6 if place == 0 else 0
            for pitch in _tones(symbol, sketch, bar, centre, bass):
                notes.append(Note(start, length * legato, pitch, sketch.mood.velocity - 14 + accent))
    return notes


def chords(sketch: Sketch, style: str, centre: int, alone: bool) -> list[Note]:
    """Return an accompaniment; with `alone`, it includes the chord roots."""
    notes = pattern(sketch, ACCOMPANIMENTS[style], centre, 43, 0.95 if style in ("block", "half") else 0.85)
    if alone and "r" not in ACCOMPANIMENTS[style][0]:
        notes += pattern(sketch, BASS_LINES["whole"], centre, 43, 0.95)
    return notes


def bass(sketch: Sketch, style: str) -> list[Note]:
    """Return a bass line around the open strings of a bass."""
    return [replace(n, velocity=n.velocity + 8) for n in pattern(sketch, BASS_LINES[style], 55, 38, 0.9)]


def drums(sketch: Sketch, beat: str, rng: random.Random) -> list[Note]:
    """Return a repeating beat, with a crash in the first bar and a fill in every fourth."""
    loud = min(120, sketch.mood.velocity + 10)
    notes, fills = [Note(0.0, 0.25, CRASH, loud - 20)], rng.random() < 0.6
    for bar in range(len(sketch.chords)):
        fill = fills and bar % 4 == 3
        for drum, line in BEATS[beat].items():
            for place, symbol in enumerate(line[: 4 * sketch.beats]):
                if symbol != "." and not (fill and drum == SNARE and place >= 12):
                    velocity = loud if symbol == "x" else loud - 35
                    notes.append(Note(bar * sketch.beats + place / 4, 0.25, drum, velocity))
        if fill:
            start = (bar + 1) * sketch.beats - 1
            notes += [Note(start + i / 4, 0.25, SNARE if i % 2 == 0 else 45, loud - 25 + 6 * i) for i in range(4)]
    return notes
