"""Run every codec on every clip, with one row for each pair. A run can be resumed, and equal seeds give equal rows.

The output folder holds `run.json` (what is measured), `rows.jsonl` (a row for each clip and codec, in order of completion;
sorted at the end), `audio/` (decoded audio), and the output of `report`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from ..format.errors import ArgumentError
from ..format.files import atomic_path
from .codecs import Coder, Missing
from .codecs.ours import Ours, loaded
from .corpus import Clip
from .metrics import score
from .processor_name import processor_name
from .rows import read_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The clips, codecs and metrics of a run."""

    clips: Sequence[Clip]
    coders: Sequence[Coder]
    metrics: Sequence[str]
    seed: int

    def fingerprint(self) -> dict[str, Any]:
        """Return JSON-compatible values that must be equal for rows to belong to the same run."""
        return {
            "seed": self.seed,
            "metrics": list(self.metrics),
            "clips": {clip.name: _digest(clip.audio.tobytes() + clip.problem.encode()) for clip in self.clips},
            "codecs": {coder.name: _weights(coder) for coder in self.coders},
        }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _weights(coder: Coder) -> str:
    """Return a hash of a model's weights, so that rows of older weights are not reused; '' for other codecs."""
    if not isinstance(coder, Ours):
        return ""
    digest = hashlib.sha256()
    for name, tensor in sorted(loaded(coder.model).state_dict().items()):
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()[:16]


def commit() -> str:
    """Return the commit of the checkout that contains this file, with '+' if files were changed; '' outside of one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=10"], cwd=here, capture_output=True)
    except OSError:
        return ""
    return found.stdout.decode().strip() if found.returncode == 0 else ""


def measure(clip: Clip, coder: Coder, metrics: Sequence[str], audio_path: Path) -> Row:
    """Measure one clip with one codec and return its row; failures are stored as `problem`. Writes audio to `audio_path`."""
    row: Row = {"clip": clip.name, "kind": clip.kind, "codec": coder.name, "family": coder.family}
    row |= {"seconds": round(clip.seconds, 3), "reference_rate": clip.sample_rate, "bandwidth_hz": clip.bandwidth_hz}
    if clip.problem:
        return row | {"problem": clip.problem}
    try:
        with tempfile.TemporaryDirectory() as folder:
            coded = coder.code(clip.audio, clip.sample_rate, Path(folder))
    except Missing as missing:
        return row | {"problem": str(missing), "missing": True}
    except Exception as error:  # one failed clip must not end the run
        return row | {"problem": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    audio_path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(audio_path, np.clip(coded.audio, -1, 1), clip.sample_rate, subtype="PCM_16", format="FLAC")
    row["kbps"] = round(8 * coded.n_bytes / clip.seconds / 1000, 4)
    row["why"] = {}
    for key in metrics:
        value, why = score(key, clip.audio, coded.audio, clip.sample_rate, clip.kind)
        row[key] = None if value is None else round(value, 5)
        if why:
            row["why"][key] = why
    return row


def audio_file(output: Path, clip: str, codec: str) -> Path:
    """Return the path of a row's decoded audio."""
    return output / "audio" / slug(clip) / f"{slug(codec)}.flac"


def slug(name: str) -> str:
    """Return a name that is safe in a path; different names stay different."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("._")[:60]
    return plain if plain == name else f"{plain}-{_digest(name.encode())[:6]}"


def prepare(output: Path, plan: Plan, force: bool) -> list[Row]:
    """Prepare the folder, and return the rows of an interrupted run of the same plan.

    Raises ValueError if the folder holds another run and `force` is False.
    """
    output.mkdir(parents=True, exist_ok=True)
    described, rows_path = output / "run.json", output / "rows.jsonl"
    wanted = plan.fingerprint()
    if described.exists() and not force:
        if read_json(described) != wanted:
            raise ArgumentError(
                f"{output}: holds a run of other clips, codecs, metrics or seed; name another folder, or use --force"
            )
        return [row for row in read_rows(rows_path) if not _lacked_a_tool(row)] if rows_path.exists() else []
    rows_path.unlink(missing_ok=True)
    shutil.rmtree(output / "audio", ignore_errors=True)
    described.write_text(json.dumps(wanted, indent=1) + "\n")
    return []


def _lacked_a_tool(row: Row) -> bool:
    """Return True if a codec or metric was not installed; by now it may be, so such rows are measured again."""
    return bool(row.get("missing")) or any(why.startswith("needs ") for why in row.get("why", {}).values())


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file, without a truncated last line."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def run(plan: Plan, output: Path, jobs: int, force: bool, done: Callable[[Row], object]) -> list[Row]:
    """Measure the missing rows, `jobs` at a time; return all rows in the plan's order.

    Calls `done` with each row. If interrupted, finished rows are kept, and the same call continues from there.
    """
    known = {(row["clip"], row["codec"]): row for row in prepare(output, plan, force)}
    where = {"seed": plan.seed, "commit": commit(), "device": processor_name()}
    pairs = [(clip, coder) for clip in plan.clips for coder in plan.coders]
    for clip, coder in pairs:
        if (clip.name, coder.name) in known:
            done(known[clip.name, coder.name])
    waiting = [(clip, coder) for clip, coder in pairs if (clip.name, coder.name) not in known]
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
    with pool, open(output / "rows.jsonl", "a", encoding="utf-8") as stream:
        futures: list[Future[Row]] = []
        try:
            for clip, coder in waiting:
                path = audio_file(output, clip.name, coder.name)
                futures.append(pool.submit(measure, clip, coder, plan.metrics, path))
            for future in as_completed(futures):
                row = future.result() | where
                stream.write(json.dumps(row) + "\n")
                stream.flush()
                known[row["clip"], row["codec"]] = row
                done(row)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    rows = [known[clip.name, coder.name] for clip, coder in pairs]
    with atomic_path(output / "rows.jsonl") as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows
