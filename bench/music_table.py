"""The result table of `ecdc bench music`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from .report import interval

TOLERANCE, OCTAVES = 0.08, (0.5, 1.0, 2.0)
FAMILY_GOAL, TEMPO_GOAL, MELODY_GOAL = 3.0, 0.5, 0.2  # times chance; share; cosine
WIDE = 0.001  # side to mid energy: -30 dB

Row = dict[str, Any]


def near(heard: float, bpm: float, factors: Iterable[float] = (1.0,)) -> bool:
    """Return True if the tempo `heard` is within TOLERANCE of `bpm`, times any of `factors`."""
    return any(abs(heard / (bpm * factor) - 1) <= TOLERANCE for factor in factors)


def markdown(found: Row) -> str:
    """Return a table with one line per measure: generated audio, floor, ceiling and goal."""
    head = ("measure", found["about"]["model"], "floor", "ceiling", "goal")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    parts = (_family(found["family"]), *_tempo(found["tempo"]), *_melody(found["melody"]), _frechet(found["frechet"]))
    for cells in (*parts, *_levels(found["levels"]), *_speed(found.get("speed"))):
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _describe(found)])


def share(values: Sequence[float]) -> str:
    """Format a mean of shares in percent with half of its bootstrap 95 % interval."""
    array = np.array(values, dtype=float)
    return f"{array.mean():.0%} ± {interval(array):.0%}"


def mean(values: Sequence[float], digits: int = 2) -> str:
    """Format a mean with half of its bootstrap 95 % interval."""
    array = np.array(values, dtype=float)
    return f"{array.mean():.{digits}f} ± {interval(array):.{digits}f}"


def _family(part: Row) -> tuple[str, ...]:
    rows, chance = part["rows"], 1 / len(part["classes"])
    made, real = ([row[key] == row["family"] for row in rows] for key in ("heard", "real"))
    return "instrument family recognised", share(made), f"{chance:.0%} (chance)", share(real), f"{FAMILY_GOAL * chance:.0%}"


def _tempo(rows: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, factors in ((f"tempo within {TOLERANCE:.0%}", (1.0,)), ("the same, half or double too", OCTAVES)):
        made, real = ([near(row[key], row["bpm"], factors) for row in rows] for key in ("heard", "real"))
        # The mean over all other prompts is the expected value of shuffled prompts, without randomness.
        floor = [np.mean([near(row["heard"], o["bpm"], factors) for o in rows if o is not row]) for row in rows]
        goal = f"{TEMPO_GOAL:.0%}" if factors == (1.0,) else ""
        lines.append((name, share(made), f"{share([float(x) for x in floor])} (other prompts)", share(real), goal))
    return lines


def _melody(rows: Sequence[Row]) -> Sequence[tuple[str, ...]]:
    gain, real = ([row[f"{kind}own"] - row[f"{kind}others"] for row in rows] for kind in ("", "real "))
    own = [row["own"] for row in rows], [row["others"] for row in rows], [row["real own"] for row in rows]
    return [
        ("chroma similarity to the melody", mean(own[0]), f"{mean(own[1])} (other melodies)", mean(own[2]), ""),
        ("the difference of both", mean(gain), "0", mean(real), f"{MELODY_GOAL:g}"),
    ]


def _frechet(part: Row) -> tuple[str, ...]:
    floor = f"{part['shuffled']:.1f} (frames shuffled), {part['noise']:.1f} (noise)"
    return "Fréchet distance to other pieces ↓", f"{part['generated']:.1f}", floor, f"{part['real']:.1f}", ""


def _levels(part: dict[str, list[Row]]) -> Sequence[tuple[str, ...]]:
    def values(kind: str, key: str) -> list[float]:
        return [row[key] for row in part[kind]]

    forms: dict[str, tuple[str, Callable[[Sequence[float]], str]]] = {
        "rms_db": ("level, dBFS", lambda x: mean(x, 1)),
        "silent": ("silent half seconds", lambda x: f"{np.mean(x):.1%}"),
        "clipped": ("samples at full scale", lambda x: f"{np.mean(x):.2%}"),
    }
    lines = [(name, form(values("mono", key)), "", form(values("real mono", key)), "") for key, (name, form) in forms.items()]
    widths = [np.array(values(kind, "width")) for kind in ("stereo", "real stereo")]
    made, real = (f"{np.median(x):.3f}" for x in widths)
    lines.append(("`--stereo`: side to mid energy, median", made, "0 (mono)", real, "> 0"))
    made, real = (f"{(x > WIDE).mean():.0%}" for x in widths)
    lines.append((f"the same, share above {WIDE:g}", made, "", real, ""))
    return lines


def _speed(part: Row | None) -> Sequence[tuple[str, ...]]:
    if part is None:
        return []
    rates = f"{part['mono']:.1f}, {part['stereo']:.1f}"
    return [
        ("seconds to first audio, whole process", f"{median(part['first audio']):.1f}", "", "", ""),
        ("generation, x real time: mono, stereo", rates, "", "", ""),
    ]


def _describe(found: Row) -> str:
    a, family = found["about"], found["family"]
    stereo = len(found["levels"]["stereo"])
    return (
        f"{a['items']} prompts of each part ({stereo} in stereo), {a['seconds']:g} s each; they describe composed pieces that "
        f"were not used for training. ± is half of the bootstrap 95 % interval. The ceiling is these pieces themselves, coded "
        f"with 4 codebooks. A logistic regression on log-mel statistics of {family['training']} other pieces recognises the "
        f"{len(family['classes'])} families. Fréchet distance on {found['frechet']['embedding']}. Guidance {a['guidance']:g}, "
        f"top-k {a['top_k']}, temperature {a['temperature']:g}; seed {a['seed']}, "
        f"commit {a['commit'].rstrip('+') or 'unknown'}, {a['device']}, {a['threads']} thread{'s' * (a['threads'] != 1)}."
    )
