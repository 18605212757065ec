"""The labels of a piece, and its notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...format.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Part:
    """The role of one instrument in a piece."""

    role: str  # melody, chords, bass, drums, arpeggio, pad or harmony
    name: str  # a key of theory.INSTRUMENTS
    family: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Everything that a caption may mention. Composed pieces have no title and package; recorded ones have little else."""

    tempo_bpm: int = 0  # beats per minute; 0: unknown
    tonic: str = ""  # such as "B-flat"
    mode: str = ""  # major or minor
    mood: str = ""  # a key of theory.MOODS
    genre: str = ""  # a key of theory.GENRES
    density: str = ""  # sparse, medium or busy: notes per bar of the melody
    meter: str = ""  # 4/4 or 3/4
    instruments: tuple[Part, ...] = ()
    channels: int = 1
    title: str = ""
    package: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON, without unknown values."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        row = {name: value for name, value in known.items() if value}
        return row | ({"instruments": [asdict(part) for part in self.instruments]} if self.instruments else {})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Labels:
        """Invert `to_dict`; raises ValueError for an unknown key."""
        unknown = set(row) - {field.name for field in fields(cls)}
        if unknown:
            raise ArgumentError(f"labels: unknown {', '.join(sorted(unknown))}")
        return cls(**{**row, "instruments": tuple(Part(**part) for part in row.get("instruments", ()))})


@dataclass(frozen=True, slots=True)
class Note:
    """A held key: beats from the start of the piece, MIDI pitch and velocity."""

    start: float  # beats
    duration: float  # beats
    pitch: int  # 0..127; for drums, the drum
    velocity: int  # 1..127


@dataclass(frozen=True, slots=True)
class Track:
    """The notes of one part, and its place in the mix."""

    role: str
    program: int  # General MIDI, from 0; for drums, the kit
    channel: int  # MIDI, from 0
    is_drum: bool
    pan: float  # -1 left .. 1 right
    volume: int  # MIDI controller 7
    dynamics: tuple[float, ...]  # one factor per bar, already included in the notes' velocities
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A composition. The same seed gives the same piece."""

    seed: int
    labels: Labels
    tracks: tuple[Track, ...]
