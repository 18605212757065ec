"""The tables that pieces are made from: instruments, moods, genres, chords and rhythms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...format.errors import ArgumentError

TONICS = {
    "major": ("C", "D-flat", "D", "E-flat", "E", "F", "F-sharp", "G", "A-flat", "A", "B-flat", "B"),
    "minor": ("C", "C-sharp", "D", "E-flat", "E", "F", "F-sharp", "G", "G-sharp", "A", "B-flat", "B"),
}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


@dataclass(frozen=True, slots=True)
class Instrument:
    """A General MIDI sound and the pitch range of its melodies."""

    family: str
    program: int  # from 0; for drums, the kit
    low: int = 60  # MIDI pitch range of its melodies
    high: int = 84
    polyphonic: bool = True  # can play its own accompaniment


INSTRUMENTS = {
    "piano": Instrument("piano", 0, 62, 86),
    "electric piano": Instrument("piano", 4, 60, 82),
    "harpsichord": Instrument("piano", 6, 60, 82),
    "organ": Instrument("organ", 16, 60, 82),
    "church organ": Instrument("organ", 19, 58, 80),
    "accordion": Instrument("organ", 21, 60, 82),
    "classical guitar": Instrument("guitar", 24, 57, 78),
    "acoustic guitar": Instrument("guitar", 25, 57, 78),
    "electric guitar": Instrument("guitar", 27, 57, 80),
    "distorted guitar": Instrument("guitar", 30, 55, 79),
    "double bass": Instrument("bass", 32, 31, 50, False),
    "bass guitar": Instrument("bass", 33, 31, 50, False),
    "synth bass": Instrument("bass", 38, 31, 50, False),
    "violin": Instrument("strings", 40, 62, 86, False),
    "cello": Instrument("strings", 42, 48, 69, False),
    "strings": Instrument("strings", 48, 60, 82),
    "pizzicato strings": Instrument("strings", 45, 60, 82),
    "trumpet": Instrument("brass", 56, 60, 80, False),
    "trombone": Instrument("brass", 57, 46, 65, False),
    "french horn": Instrument("brass", 60, 50, 70, False),
    "brass section": Instrument("brass", 61, 56, 77),
    "saxophone": Instrument("reed", 65, 56, 77, False),
    "oboe": Instrument("reed", 68, 62, 82, False),
    "clarinet": Instrument("reed", 71, 58, 80, False),
    "flute": Instrument("flute", 73, 67, 89, False),
    "pan flute": Instrument("flute", 75, 67, 86, False),
    "square synth": Instrument("synth", 80, 62, 86, False),
    "saw synth": Instrument("synth", 81, 60, 84, False),
    "synth pad": Instrument("pad", 89, 58, 80),
    "choir": Instrument("pad", 52, 58, 79),
    "vibraphone": Instrument("mallets", 11, 60, 84),
    "marimba": Instrument("mallets", 12, 58, 82),
    "music box": Instrument("mallets", 10, 72, 93),
    "harp": Instrument("plucked", 46, 60, 84),
    "koto": Instrument("plucked", 107, 60, 81),
    "drums": Instrument("drums", 0),
    "drum machine": Instrument("drums", 25),
    "brushed drums": Instrument("drums", 40),
}


@dataclass(frozen=True, slots=True)
class Mood:
    """The musical properties of a mood."""

    modes: tuple[str, ...]
    tempo: tuple[int, int]  # beats per minute
    densities: tuple[str, ...]
    register: float  # position of the melody in its instrument's range, 0 low .. 1 high
    velocity: int
    legato: float  # fraction of a note's length that is held
    progressions: tuple[str, ...]  # names in PROGRESSIONS


MOODS = {
    "happy": Mood(("major",), (100, 150), ("medium", "busy"), 0.6, 94, 0.85, ("bright", "plain")),
    "sad": Mood(("minor",), (60, 86), ("sparse", "medium"), 0.35, 66, 0.97, ("plaintive",)),
    "calm": Mood(("major",), (60, 92), ("sparse",), 0.45, 60, 0.98, ("gentle", "plain")),
    "energetic": Mood(("major", "minor"), (126, 170), ("busy",), 0.6, 112, 0.8, ("driving",)),
    "tense": Mood(("minor",), (100, 150), ("medium", "busy"), 0.4, 92, 0.6, ("uneasy",)),
    "dreamy": Mood(("major",), (64, 98), ("sparse", "medium"), 0.75, 64, 0.98, ("floating",)),
    "playful": Mood(("major",), (108, 156), ("medium", "busy"), 0.7, 86, 0.5, ("bright", "plain")),
    "dark": Mood(("minor",), (60, 112), ("sparse", "medium"), 0.15, 82, 0.95, ("uneasy", "grave")),
    "epic": Mood(("minor", "major"), (84, 140), ("medium",), 0.55, 114, 0.92, ("heroic",)),
    "romantic": Mood(("major",), (64, 100), ("medium",), 0.55, 76, 0.96, ("gentle", "floating")),
}
# Four bars each. Roman numerals: upper case major, lower case minor; 7 as in the scale; M7 a major seventh.
PROGRESSIONS = {
    ("bright", "major"): ("I V vi IV", "I IV V I", "I IV I V", "I vi IV V", "IV V I I", "I V IV V"),
    ("plain", "major"): ("I I IV V", "I IV I IV", "I ii V I", "I iii IV V"),
    ("gentle", "major"): ("I iii IV IV", "I IV ii V", "vi IV I V", "I V ii IV", "IV I IV V"),
    ("floating", "major"): ("IM7 IVM7 IM7 IVM7", "IM7 iii7 IVM7 IVM7", "IVM7 IM7 ii7 IM7", "IM7 vi7 ii7 IVM7"),
    ("driving", "major"): ("I bVII IV I", "I V vi IV", "I I IV V", "I IV V IV"),
    ("driving", "minor"): ("i bVI bVII i", "i bVII bVI bVII", "i bIII bVII iv", "i i bVI bVII"),
    ("plaintive", "minor"): ("i bVI bIII bVII", "i iv i V", "i iv bVI V", "i bVII bVI V", "i v bVI iv", "i bIII iv V"),
    ("uneasy", "minor"): ("i bII i bII", "i bVI i V", "i i bII V", "i iv bII V"),
    ("grave", "minor"): ("i i iv i", "i bVI iv i", "i v iv i", "i iv i bVI"),
    ("heroic", "minor"): ("i bVI bIII bVII", "i bVI bVII i", "bVI bVII i i", "i iv bVI bVII"),
    ("heroic", "major"): ("I V bVII IV", "I bVI bVII I", "I iii vi IV", "I IV vi V"),
}
_NUMERALS = {"i": 0, "ii": 1, "iii": 2, "iv": 3, "v": 4, "vi": 5, "vii": 6}


@dataclass(frozen=True, slots=True)
class Chord:
    """A root and the pitch classes of the chord, root first."""

    root: int  # pitch class, 0 = C
    classes: tuple[int, ...]


def parse_chord(numeral: str, tonic: int) -> Chord:
    """Parse a roman numeral over a tonic (pitch class); a flat is relative to the major scale. Raises ValueError."""
    found = re.fullmatch(r"(b?)([iv]+|[IV]+)(M?7)?", numeral)
    if found is None or found[2].lower() not in _NUMERALS:
        raise ArgumentError(f"{numeral!r} is not a chord: give one such as ii, bVII or IVM7")
    root = (tonic + SCALES["major"][_NUMERALS[found[2].lower()]] - bool(found[1])) % 12
    intervals = [0, 4 if found[2].isupper() else 3, 7]
    if found[3]:
        intervals.append(11 if found[3] == "M7" else 10)
    return Chord(root, tuple((root + step) % 12 for step in intervals))


@dataclass(frozen=True, slots=True)
class Genre:
    """A style: its instruments, tempo and patterns."""

    tempo: tuple[int, int]  # beats per minute
    moods: tuple[str, ...]
    sizes: str  # of s(olo), e(nsemble), d(rums): those that the style occurs in
    melody: tuple[str, ...]  # instruments
    chords: tuple[str, ...]
    bass: str  # an instrument
    styles: tuple[str, ...]  # of the accompaniment: names in ACCOMPANIMENTS
    bass_styles: tuple[str, ...]  # names in BASS_LINES
    kit: str = "drums"
    beat: str = "rock"  # a name in BEATS
    beats: int = 4  # in a bar
    swing: float = 0.5  # position of the second eighth within a beat
    weight: int = 4  # how often the style is drawn


_KEYS = ("piano", "piano", "electric piano")
_GUITARS = ("acoustic guitar", "classical guitar")
GENRES = {
    "ballad": Genre(
        (60, 86), ("sad", "romantic", "calm"), "sed", ("piano", "piano", "acoustic guitar", "violin", "saxophone", "flute"),
        (*_KEYS, "acoustic guitar", "strings"), "bass guitar", ("block", "half", "arpeggio"), ("whole", "fifths"), beat="slow",
        weight=6,
    ),
    "waltz": Genre(
        (76, 160), ("happy", "romantic", "sad", "playful", "dreamy"), "se",
        ("piano", "accordion", "violin", "clarinet", "flute"), ("piano", "accordion", "strings", "classical guitar"),
        "double bass", ("waltz",), ("whole",), beats=3,
    ),
    "lo-fi": Genre(
        (66, 92), ("calm", "dreamy", "sad"), "sed", ("electric piano", "piano", "vibraphone", "electric guitar"),
        ("electric piano", "electric piano", "piano"), "bass guitar", ("block", "half", "comp"), ("whole", "dotted"),
        kit="drum machine", beat="hip hop", swing=0.62,
    ),
    "ambient": Genre(
        (60, 84), ("calm", "dreamy", "dark"), "se", ("synth pad", "choir", "piano", "pan flute", "vibraphone"),
        ("synth pad", "choir", "strings"), "synth bass", ("block",), ("whole",),
    ),
    "folk": Genre(
        (84, 136), ("happy", "playful", "romantic"), "sed", (*_GUITARS, "violin", "accordion", "flute", "koto"),
        (*_GUITARS, "accordion", "harp"), "double bass", ("strum", "arpeggio", "stride"), ("fifths",), beat="march",
    ),
    "jazz": Genre(
        (84, 156), ("happy", "playful", "romantic"), "sed", ("saxophone", "trumpet", "piano", "vibraphone", "clarinet"),
        ("piano", "electric guitar", "vibraphone"), "double bass", ("comp", "stride"), ("walking",),
        kit="brushed drums", beat="jazz", swing=0.65,
    ),
    "blues": Genre(
        (66, 110), ("sad", "dark"), "sed", ("electric guitar", "piano", "saxophone", "organ"),
        ("piano", "electric guitar", "organ"), "bass guitar", ("pulse", "comp"), ("walking", "fifths"), beat="rock", swing=0.65,
    ),
    "classical": Genre(
        (60, 150), ("happy", "sad", "calm", "tense", "playful", "romantic"), "se",
        ("piano", "piano", "violin", "cello", "flute", "oboe", "clarinet", "harpsichord"),
        ("piano", "piano", "strings", "pizzicato strings", "harpsichord", "harp"), "double bass",
        ("rolling", "arpeggio", "block", "pulse"), ("whole", "fifths"), weight=8,
    ),
    "lullaby": Genre(
        (60, 86), ("calm", "dreamy"), "s", ("music box", "music box", "harp", "piano", "vibraphone"),
        ("music box", "harp", "piano"), "double bass", ("arpeggio", "rolling"), ("whole",),
    ),
    "march": Genre(
        (100, 126), ("epic", "happy", "playful"), "sed", ("trumpet", "french horn", "trombone", "brass section", "flute"),
        ("brass section", "organ"), "double bass", ("march", "stride"), ("fifths",), beat="march",
    ),
    "pop": Genre(
        (90, 136), ("happy", "energetic", "romantic"), "sed", ("piano", "saw synth", "electric guitar", "acoustic guitar"),
        (*_KEYS, "acoustic guitar"), "bass guitar", ("pulse", "strum", "arpeggio"), ("eighths", "dotted"), beat="pop",
    ),
    "rock": Genre(
        (108, 170), ("energetic", "happy", "tense", "dark"), "sed", ("distorted guitar", "electric guitar", "organ"),
        ("distorted guitar", "electric guitar"), "bass guitar", ("driving", "pulse"), ("eighths",), beat="rock",
    ),
    "techno": Genre(
        (120, 145), ("energetic", "tense"), "ed", ("saw synth", "square synth"), ("synth pad", "saw synth"), "synth bass",
        ("offbeat", "stabs"), ("offbeat", "eighths"), kit="drum machine", beat="four on the floor",
    ),
    "disco": Genre(
        (108, 132), ("happy", "energetic"), "d", ("strings", "saw synth", "electric piano"),
        ("electric piano", "electric guitar"), "bass guitar", ("offbeat", "stabs"), ("octaves",), beat="four on the floor",
    ),
    "funk": Genre(
        (96, 120), ("happy", "playful"), "ed", ("electric guitar", "brass section", "organ", "saxophone"),
        ("electric guitar", "electric piano", "organ"), "bass guitar", ("stabs", "comp"), ("dotted", "octaves"), beat="funk",
    ),
    "cinematic": Genre(
        (70, 140), ("epic", "tense", "dark", "sad"), "sed", ("strings", "french horn", "cello", "choir", "brass section"),
        ("strings", "choir", "church organ"), "double bass", ("block", "pulse"), ("whole", "fifths"), beat="toms",
    ),
    "chiptune": Genre(
        (116, 166), ("energetic", "playful", "happy"), "sed", ("square synth",), ("square synth",), "synth bass",
        ("up",), ("octaves", "eighths"), kit="drum machine", beat="pop", weight=2,
    ),
}  # fmt: skip
# A character per eighth of a bar of 4/4, then of 3/4. c: the chord, 0..3: one tone of it, r: root below, f: fifth below,
# o: octave above the root, t: third, a: a step to the next root; -: held on, .: silence.
ACCOMPANIMENTS = {
    "block": ("c-------", "c-----"),
    "half": ("c---c---", "c---c-"),
    "pulse": ("c-c-c-c-", "c-c-c-"),
    "driving": ("cccccccc", "cccccc"),
    "strum": ("c-c.cc.c", "c-c.cc"),
    "offbeat": (".c.c.c.c", ".c.c.c"),
    "stabs": ("c..c..c.", "c..c.."),
    "comp": ("c-.c-...", "c-.c-."),
    "arpeggio": ("01232101", "012321"),
    "rolling": ("02120212", "021212"),
    "up": ("01230123", "012301"),
    "waltz": ("r-c.f-c.", "r-c.c."),
    "stride": ("r-c-f-c-", "r-c-c-"),
    "march": ("r.c.f.c.", "r.c.c."),
    "harmony": ("0---1---", "0---1-"),
}
BASS_LINES = {
    "whole": ("r-------", "r-----"),
    "fifths": ("r---f---", "r---f-"),
    "dotted": ("r--r--f-", "r--r--"),
    "eighths": ("rrrrrrrr", "rrrrrr"),
    "octaves": ("rorororo", "rororo"),
    "offbeat": (".r.r.r.r", ".r.r.r"),
    "walking": ("r-t-f-a-", "r-t-a-"),
}
# Rhythms of one bar of melody: lengths in beats, negative for rests.
RHYTHMS: dict[tuple[str, int], tuple[tuple[float, ...], ...]] = {
    ("sparse", 4): ((2, 2), (3, 1), (2, 1, 1), (1, 1, 2), (4,)),
    ("medium", 4): ((1, 1, 1, 1), (1.5, 0.5, 1, 1), (1, 0.5, 0.5, 2), (0.5, 0.5, 1, 2), (1, 1, 1, -1), (1.5, 1.5, 1)),
    ("busy", 4): ((0.5,) * 8, (0.5, 0.5, 1, 0.5, 0.5, 1), (1, 0.5, 0.5, 0.5, 0.5, 1), (0.5, 0.5, 0.5, 0.5, 1, 1)),
    ("sparse", 3): ((3,), (2, 1)),
    ("medium", 3): ((1, 1, 1), (2, 0.5, 0.5), (1.5, 0.5, 1)),
    ("busy", 3): ((0.5,) * 6, (1, 0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 1, 1)),
}
KICK, RIM, SNARE, CLAP, HAT, OPEN_HAT, LOW_TOM, TOM, CRASH, RIDE = 36, 37, 38, 39, 42, 46, 41, 45, 49, 51
# A character per sixteenth of a bar of 4/4: x loud, o soft.
BEATS: dict[str, dict[int, str]] = {
    "rock": {KICK: "x.......x.x.....", SNARE: "....x.......x...", HAT: "x.o.x.o.x.o.x.o."},
    "pop": {KICK: "x.....x.x.......", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.x."},
    "slow": {KICK: "x.........x.....", RIM: "....x.......x...", HAT: "x...o...x...o..."},
    "hip hop": {KICK: "x.....x...x.....", SNARE: "....x.......x...", HAT: "x.o.x.o.x.o.x.o."},
    "jazz": {KICK: "o.......o.......", HAT: "....x.......x...", RIDE: "x...x.o.x...x.o."},
    "funk": {KICK: "x..x..x...x.....", SNARE: "....x..o.o..x..o", HAT: "x.x.x.x.x.x.x.x."},
    "march": {KICK: "x.......x.......", SNARE: "x...x.ooxo..x.oo"},
    "four on the floor": {KICK: "x...x...x...x...", CLAP: "....x.......x...", OPEN_HAT: "..x...x...x...x."},
    "toms": {LOW_TOM: "x.....x.x.......", TOM: "....x.......x.oo", KICK: "x.......x......."},
}
