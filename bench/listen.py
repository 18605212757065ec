"""Aggregate the result files of the page's blind tests.

MUSHRA scores are means with bootstrap 95 % intervals. Listeners who give the hidden reference
less than 90 in more than 15 % of their trials are excluded (post-screening of ITU-R BS.1534-3).
ABX answers are tested with an exact binomial test against guessing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..format.errors import ArgumentError
from .listen_file import AbxTrial, MushraTrial, Session, read_session
from .page.check import REFERENCE

SCREEN_SCORE, SCREEN_SHARE = 90, 0.15
BOOTSTRAPS, SEED = 2000, 0


@dataclass(frozen=True)
class Score:
    """Mean MUSHRA score of a codec, or of the hidden reference, and its 95 % interval."""

    codec: str
    mean: float
    low: float
    high: float
    n_listeners: int
    n_trials: int


@dataclass(frozen=True)
class Verdict:
    """ABX answers for a codec; `p_value` is the probability of at least as many correct ones by guessing."""

    codec: str
    n_correct: int
    n_trials: int
    n_listeners: int
    p_value: float


@dataclass(frozen=True)
class Results:
    """All answers for one page: scores best first, verdicts by codec; `n_excluded` MUSHRA listeners are not counted."""

    page: str
    n_files: int
    n_listeners: int
    n_excluded: int
    scores: tuple[Score, ...]
    verdicts: tuple[Verdict, ...]


def aggregate(paths: Iterable[str | Path], page: str | None = None) -> Results:
    """Aggregate result files of one page. Their order does not matter.

    Sessions with the same name belong to one listener; each session without a name counts as
    another listener. Raises ValueError, with the file and field, if a file is not a result file,
    a session occurs twice, a file is for another page than `page` (default: the first file's
    page), or there are no files.
    """
    found: dict[tuple[str, str, str], tuple[str, Session]] = {}
    for path in paths:
        session = read_session(path)
        page = page or session.page
        if session.page != page:
            raise ArgumentError(f"{path}: page: heard on page {session.page[:12]}, not {page[:12]}; give files of one page")
        name, _ = found.setdefault((session.kind, session.listener, session.started), (str(path), session))
        if name != str(path):
            raise ArgumentError(f"{path}: is the same session as {name}")
    if page is None or not found:
        raise ArgumentError("no result file was given")
    by_listener = {kind: listeners([s for _, s in found.values() if s.kind == kind]) for kind in ("mushra", "abx")}
    kept = {who: trials for who, trials in by_listener["mushra"].items() if is_reliable(trials)}
    return Results(
        page,
        n_files=len(found),
        n_listeners=len(by_listener["mushra"].keys() | by_listener["abx"].keys()),
        n_excluded=len(by_listener["mushra"]) - len(kept),
        scores=scores_of(kept),
        verdicts=verdicts_of(by_listener["abx"]),
    )


def listeners(sessions: Sequence[Session]) -> dict[str, list[Any]]:
    """Return the trials of each listener. The order does not depend on the order of the files."""
    trials: dict[str, list[Any]] = defaultdict(list)
    for session in sorted(sessions, key=lambda s: (s.listener, s.started)):
        trials[session.listener or f"unnamed, {session.started}"] += session.trials
    return dict(sorted(trials.items()))


def is_reliable(trials: Sequence[MushraTrial]) -> bool:
    """Return True if a listener recognises the hidden reference: less than 90 in at most 15 % of the trials."""
    return sum(trial.scores[REFERENCE] < SCREEN_SCORE for trial in trials) <= SCREEN_SHARE * len(trials)


def scores_of(by_listener: dict[str, list[MushraTrial]]) -> tuple[Score, ...]:
    """Return the mean scores, best first."""
    given: dict[str, list[np.ndarray]] = defaultdict(list)
    for trials in by_listener.values():
        for codec in sorted({name for trial in trials for name in trial.scores}):
            given[codec].append(np.array([trial.scores[codec] for trial in trials if codec in trial.scores], float))
    found = []
    for codec, groups in given.items():
        every = np.concatenate(groups)
        found.append(Score(codec, float(every.mean()), *interval(groups), n_listeners=len(groups), n_trials=len(every)))
    return tuple(sorted(found, key=lambda score: (-score.mean, score.codec)))


def interval(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the bootstrap 95 % interval of the mean of all scores: listeners are drawn, then trials of each.

    Drawing whole listeners keeps many trials of one person from counting as many opinions.
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(groups), (BOOTSTRAPS, len(groups)))
    sums, counts = np.zeros(drawn.shape), np.zeros(drawn.shape)
    for listener, scores in enumerate(groups):
        here = drawn == listener
        trials = rng.integers(0, len(scores), (int(here.sum()), len(scores)))
        sums[here], counts[here] = scores[trials].sum(1), len(scores)
    low, high = np.percentile(sums.sum(1) / counts.sum(1), [2.5, 97.5])
    return float(low), float(high)


def verdicts_of(by_listener: dict[str, list[AbxTrial]]) -> tuple[Verdict, ...]:
    """Return the ABX results of all listeners, by codec."""
    answers: dict[str, list[bool]] = defaultdict(list)
    who: dict[str, set[str]] = defaultdict(set)
    for listener, trials in by_listener.items():
        for trial in trials:
            answers[trial.codec].append(trial.correct)
            who[trial.codec].add(listener)
    return tuple(
        Verdict(codec, sum(said), len(said), len(who[codec]), p_value(sum(said), len(said)))
        for codec, said in sorted(answers.items())
    )


def p_value(n_correct: int, n_trials: int) -> float:
    """Return the exact one-sided binomial p-value: P(at least `n_correct` of `n_trials`) by guessing."""
    ways = total = 1  # n choose k, from k = n downwards
    for k in range(n_trials, n_correct, -1):
        ways = ways * k // (n_trials - k + 1)
        total += ways
    return total / 2**n_trials


def to_dict(results: Results) -> dict[str, Any]:
    """Return the results as JSON-compatible values."""
    return asdict(results)


def to_markdown(results: Results) -> str:
    """Return the results as Markdown tables."""
    lines = [f"{count(results.n_files, 'result file')} of {count(results.n_listeners, 'listener')}, page {results.page[:12]}"]
    if results.scores or results.n_excluded:
        rule = f"gave the hidden reference less than {SCREEN_SCORE} in more than {SCREEN_SHARE:.0%} of their trials"
        lines += ["", f"MUSHRA; {count(results.n_excluded, 'listener')} excluded ({rule}).", ""]
    if results.scores:
        lines += ["| codec | mean score | 95 % interval | listeners | trials |", "|---|---|---|---|---|"]
        lines += [
            f"| {cell(s.codec)} | {s.mean:.1f} | {s.low:.1f} to {s.high:.1f} | {s.n_listeners} | {s.n_trials} |"
            for s in results.scores
        ]
    if results.verdicts:
        lines += ["", "ABX; p is the chance of at least as many correct answers by tossing coins.", ""]
        lines += ["| codec | correct | trials | listeners | p |", "|---|---|---|---|---|"]
        lines += [
            f"| {cell(v.codec)} | {v.n_correct} | {v.n_trials} | {v.n_listeners} | {v.p_value:.2g} |" for v in results.verdicts
        ]
    return "\n".join(lines)


def count(n: int, noun: str) -> str:
    """Return a count with its noun: '1 listener', '2 listeners'."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def cell(name: str) -> str:
    """Return a name from a file for a table cell, with bars escaped and control characters removed."""
    shown = "hidden reference" if name == REFERENCE else name
    return "".join(c if c.isprintable() else " " for c in shown).replace("\\", "\\\\").replace("|", "\\|")
