"""Compose 20 s pieces from seeds. The labels determine the notes, so captions are correct without listening."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from . import instrument_parts
from .instrument_parts import Sketch
from .labels import Labels, Note, Part, Piece, Track
from .music_theory import GENRES, INSTRUMENTS, MOODS, PROGRESSIONS, TONICS, Genre, parse_chord

SECONDS = 20.0
SOLO, ENSEMBLE, DRUMS = "s", "e", "d"
SIZES, SIZE_WEIGHTS = (SOLO, ENSEMBLE, DRUMS), (45, 35, 20)
MONO_SHARE = 0.6
VOLUMES = {"melody": 112, "chords": 84, "harmony": 84, "bass": 104, "drums": 100, "arpeggio": 80, "pad": 62}
PANS = {"melody": 0.15, "chords": -0.5, "harmony": -0.5, "bass": 0.0, "drums": 0.05, "arpeggio": 0.6, "pad": 0.35}
CENTRES = {"chords": 60, "arpeggio": 67, "pad": 57, "harmony": 60}  # MIDI pitches
DRUM_CHANNEL = 9


def compose(seed: int) -> Piece:
    """Return the piece of a seed: the same on every machine and with every Python from 3.11 on."""
    rng = random.Random(f"ecdc {seed}")
    size = rng.choices(SIZES, SIZE_WEIGHTS)[0]
    known = {key: genre.weight for key, genre in GENRES.items() if size in genre.sizes}
    name = rng.choices(list(known), list(known.values()))[0]
    genre = GENRES[name]
    mood_name = rng.choice(genre.moods)
    mood = MOODS[mood_name]
    bpm = rng.randint(max(genre.tempo[0], mood.tempo[0]), min(genre.tempo[1], mood.tempo[1]))
    mode, density = rng.choice(mood.modes), rng.choice(mood.densities)
    tonic = rng.choice((0, 0, 2, 2, 4, 5, 5, 7, 7, 9, 9, *range(12)))
    loops = [loop for kind in mood.progressions for loop in PROGRESSIONS.get((kind, mode), ())]
    loop = [parse_chord(numeral, tonic) for numeral in rng.choice(loops).split()]
    n_bars = math.ceil(SECONDS * bpm / 60 / genre.beats)
    sketch = Sketch(tonic, mode, mood, density, genre.beats, tuple(loop[bar % 4] for bar in range(n_bars)))
    cast = _CASTS[size](genre, rng)
    tracks = _tracks(cast, sketch, genre, bpm, rng)
    labels = Labels(
        tempo_bpm=bpm,
        tonic=TONICS[mode][tonic],
        mode=mode,
        mood=mood_name,
        genre=name,
        density=density,
        meter=f"{genre.beats}/4",
        instruments=tuple(cast),
        channels=1 if rng.random() < MONO_SHARE else 2,
    )
    return Piece(seed, labels, tuple(tracks))


def _part(role: str, name: str) -> Part:
    return Part(role, name, INSTRUMENTS[name].family)


def _solo(genre: Genre, rng: random.Random) -> list[Part]:
    """Return one instrument, or two of a family."""
    name = rng.choice((*genre.melody, *genre.chords))
    instrument = INSTRUMENTS[name]
    if instrument.polyphonic:
        roles = rng.choices((("melody", "chords"), ("chords",), ("melody",)), (70, 15, 15))[0]
        return [_part(role, name) for role in roles]
    if rng.random() < 0.6:
        return [_part("melody", name)]
    peers = [n for n, i in INSTRUMENTS.items() if i.family == instrument.family and not i.polyphonic]
    return [_part("melody", name), _part("harmony", rng.choice(peers))]


def _ensemble(genre: Genre, rng: random.Random) -> list[Part]:
    """Return melody, chords and bass, sometimes with a fourth part."""
    lead = rng.choice(genre.melody)
    below = rng.choice([n for n in genre.chords if n != lead] or list(genre.chords))
    found = [_part("melody", lead), _part("chords", below), _part("bass", genre.bass)]
    if rng.random() < 0.35:
        found.append(
            rng.choice([_part("pad", rng.choice(("strings", "synth pad"))), _part("arpeggio", rng.choice(genre.chords))])
        )
    return found


def _with_drums(genre: Genre, rng: random.Random) -> list[Part]:
    """Return a drum kit, alone or with other parts."""
    kit, bass = _part("drums", genre.kit), _part("bass", genre.bass)
    lead, below = rng.choice(genre.melody), rng.choice(genre.chords)
    over = rng.choices(
        (
            [],
            [bass],
            [_part("chords", below), bass],
            [_part("melody", lead), bass],
            [_part("melody", lead), _part("chords", below), bass],
            [_part("arpeggio", lead), bass],
        ),
        (15, 12, 15, 18, 30, 10),
    )[0]
    return [*over, kit]


_CASTS = {SOLO: _solo, ENSEMBLE: _ensemble, DRUMS: _with_drums}


def _tracks(cast: list[Part], sketch: Sketch, genre: Genre, bpm: int, rng: random.Random) -> list[Track]:
    """Return one track per part; left and right are swapped in half of the pieces."""
    dynamics = _dynamics(len(sketch.chords), rng)
    side, found = rng.choice((-1, 1)), []
    accompanied = any(part.role == "bass" for part in cast)
    for index, part in enumerate(cast):
        notes = _notes(part, sketch, genre, accompanied, rng)
        is_drum = part.family == "drums"
        channel = DRUM_CHANNEL if is_drum else index
        pan = side * PANS[part.role] * (1.0 if len(cast) > 1 else 2.0)
        finished = _finish(notes, sketch, genre.swing, bpm, dynamics, rng)
        program = INSTRUMENTS[part.name].program
        found.append(Track(part.role, program, channel, is_drum, pan, VOLUMES[part.role], dynamics, finished))
    return found


def _notes(part: Part, sketch: Sketch, genre: Genre, accompanied: bool, rng: random.Random) -> list[Note]:
    """Return the notes of one part, exact in time and even in loudness."""
    instrument = INSTRUMENTS[part.name]
    if part.role == "melody":
        return instrument_parts.melody(sketch, instrument, rng)
    if part.role == "bass":
        return instrument_parts.bass(sketch, rng.choice(genre.bass_styles))
    if part.role == "drums":
        return instrument_parts.drums(sketch, genre.beat, rng)
    style = {"arpeggio": "up", "pad": "block", "harmony": "harmony"}.get(part.role) or rng.choice(genre.styles)
    centre = CENTRES[part.role]
    if part.role == "harmony":  # within the instrument's range, in its lower part
        centre = max(instrument.low + 4, min(centre, instrument.high - 8))
    return instrument_parts.chords(sketch, style, centre, alone=part.role == "chords" and not accompanied)


def _dynamics(n_bars: int, rng: random.Random) -> tuple[float, ...]:
    """Return a factor per bar: level, a swell to the end, or an arch over every four bars."""
    shape, depth = rng.choice(("level", "swell", "arch")), rng.uniform(0.1, 0.25)
    if shape == "swell":
        return tuple(1 - depth + depth * bar / max(1, n_bars - 1) for bar in range(n_bars))
    return tuple(1 - depth * (bar % 4 in (0, 3)) * (shape == "arch") for bar in range(n_bars))


def _finish(
    notes: list[Note], sketch: Sketch, swing: float, bpm: int, dynamics: tuple[float, ...], rng: random.Random
) -> tuple[Note, ...]:
    """Add swing, dynamics and random variation of loudness; drop notes after the end."""
    end, found = SECONDS * bpm / 60, []
    for note in sorted(notes, key=lambda n: (n.start, n.pitch)):
        start, stop = swung(note.start, swing), swung(note.start + note.duration, swing)
        if start >= end - 0.05:
            continue
        velocity = note.velocity * dynamics[int(note.start // sketch.beats)] + rng.gauss(0, 3)
        found.append(replace(note, start=start, duration=stop - start, velocity=round(min(max(velocity, 20), 127))))
    return tuple(found)


def swung(beat: float, swing: float) -> float:
    """Return a time in beats, with the middle of each beat moved to the fraction `swing`; 0.5 changes nothing."""
    whole = math.floor(beat)
    inside = beat - whole
    return whole + (2 * inside * swing if inside < 0.5 else swing + (2 * inside - 1) * (1 - swing))
