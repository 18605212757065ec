"""Progress of `ecdc corpus encode`: hours done, speed, remaining time and failures, per worker."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import Any

from .common import speed
from .terminal_text import counted, echo

LINE_SECONDS = 60.0  # between two lines if stderr is not a terminal
MOST_NAMED = 10  # damaged recordings


class Progress:
    """Receives the events of an engine; shows a bar on a terminal, otherwise a line a minute."""

    def __init__(self, job: Any, quiet: bool) -> None:
        self._total = sum(max(item.n_bytes, 1) for shard in job.todo for item in shard.items)
        self._n_shards, self._n_finished = len(job.todo), job.n_finished
        self._quiet = quiet
        self._bar: Any = None
        self._began = self._told = time.monotonic()
        self.seconds: Counter[int] = Counter()  # of audio, by worker
        self.items: Counter[int] = Counter()
        self.deaths: Counter[int] = Counter()
        self.failed = self.shards = self._bytes = 0

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=self._total, file=sys.stderr, leave=False, ncols=width, bar_format=form)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, worker: int, kind: str, value: Any) -> None:
        """Receive an event."""
        if kind == "read":
            n_bytes, seconds = value
            self._bytes += max(n_bytes, 1)
            self.seconds[worker] += seconds
            self.items[worker] += 1
            if self._bar is not None:
                self._bar.update(max(n_bytes, 1))
        elif kind == "done":
            self.shards += 1
            self.failed += value["failed"]
        elif kind == "died":
            self.deaths[worker] += 1
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(self._state(now), refresh=False)
        elif not self._quiet and now - self._told > LINE_SECONDS:
            self._told = now
            left = (now - self._began) * max(self._total / max(self._bytes, 1) - 1, 0)
            echo(f"ecdc: {self._state(now)}, about {left / 60:.0f} min left", err=True)

    def _state(self, now: float) -> str:
        seconds = sum(self.seconds.values())
        speed = seconds / max(now - self._began, 1e-9)
        each = "/".join(f"{self.seconds[w] / 3600:.1f}" for w in sorted(self.seconds))
        per_worker = f" ({each} by worker)" if 1 < len(self.seconds) < 9 else ""
        return (
            f"{seconds / 3600:.2f} h{per_worker}, {speed:.0f}x real time, {self.shards} of {self._n_shards} shards, "
            f"{self.failed} failed"
        )

    def summary(self, wall_seconds: float) -> dict[str, Any]:
        """Return what this run did."""
        seconds = sum(self.seconds.values())
        workers = {
            str(w): {"items": self.items[w], "hours": round(self.seconds[w] / 3600, 4), "died": self.deaths[w]}
            for w in sorted(self.items | self.deaths)
        }
        return {
            "shards_made": self.shards, "shards_kept": self._n_finished,
            "seconds_read": round(seconds, 3), "wall_seconds": round(wall_seconds, 3),
            "x_real_time": round(seconds / max(wall_seconds, 1e-9), 2), "workers": workers,
        }  # fmt: skip

    def lines(self, summary: dict[str, Any], output: str, n_left_out: int) -> list[str]:
        """Return the summary as lines for people; `n_left_out` files of the sources are no audio."""
        counts, made = summary["counts"], summary["shards_made"]
        found = [
            f"ecdc: {made} shard{'s' * (made != 1)} made, {summary['shards_kept']} kept"
            + f": {summary['seconds_read'] / 3600:.2f} h in {summary['wall_seconds']:.0f} s, {speed(summary['x_real_time'])}"
            * bool(made)
        ]
        if len(summary["workers"]) > 1:
            each = (f"{w}: {row['hours']:.2f} h" + (", died" if row["died"] else "") for w, row in summary["workers"].items())
            found.append("ecdc: workers " + "; ".join(each))
        if n_left_out:
            found.append(f"ecdc: {n_left_out} file{'s' * (n_left_out != 1)} in the sources ignored; --dry-run lists them")
        found.append(
            f"ecdc: {output}: {counts['done']} of {counts['items']} recordings, {summary['hours']:.2f} h, "
            f"{counts['failed']} failed"
            + (f" (see {output.rstrip('/')}/failures.jsonl)" if counts["failed"] else "")
            + ("" if summary["is_complete"] else "; not all shards are made yet")
        )
        for row in summary["damaged"][:MOST_NAMED]:
            found.append(f"ecdc: {output}: {row['key']}: encoded in part: {row['damage']}")
        if (n := len(summary["damaged"]) - MOST_NAMED) > 0:
            found.append(f"ecdc: {output}: {counted(n, 'further recording')} encoded in part (see {output}/manifest.json)")
        loud = summary["beyond_full_scale"]
        if n := loud["recordings"]:
            found.append(
                f"ecdc: {output}: {n} recording{'s have' if n > 1 else ' has'} samples beyond full scale, by up to "
                f"{loud['peak_db']:.1f} dB in {loud['loudest']}; they were coded as they are (see {output}/records)"
            )
        return found
