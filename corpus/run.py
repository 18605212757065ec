"""Tokenise a corpus: plan, find what is finished, make the other shards with an engine, sum up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..codec.runtime import check_torch, is_for_torch, open_codec
from ..codec.threads import processors
from ..format.arguments import described, finite_number, whole_number
from .errors import CorpusError
from .local import Shard, run_here, run_in_processes
from .plan import PLAN, Plan, check_same, make_plan
from .records import is_finished, read_records, record_name, record_names, write_summary
from .settings import Settings
from .sources import Found, find_items
from .store import Store, is_url
from .work import Task

MOST_WORKERS = 4096
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """How the work is done. Nothing here changes the bytes of the corpus."""

    name: str = "local"
    workers: int | None = None  # None: one per processor, or per GPU
    batch_seconds: float = 20.0  # of audio that is encoded together
    device: str = "cpu"
    runtime: str = "auto"
    threads: int | None = None  # of a worker; None: one if there are several workers
    address: str | None = None  # of a Ray cluster; None: this machine
    part: tuple[int, int] = (0, 1)  # (i, n): only every n-th shard, beginning with number i

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise CorpusError(f"the engine must be one of {', '.join(ENGINES)}, got {self.name!r}")
        if self.workers is not None:
            whole_number("workers", self.workers, 1, MOST_WORKERS)
        if self.threads is not None:
            whole_number("threads", self.threads, 1, MOST_WORKERS)
        if finite_number("batch_seconds", self.batch_seconds) <= 0:
            raise CorpusError(f"batch_seconds must be above 0, got {self.batch_seconds}")
        if not isinstance(self.part, tuple) or len(self.part) != 2:
            raise CorpusError(f"a part must be a tuple (i, n), got {described(self.part)}")
        if not 0 <= whole_number("i", self.part[0]) < whole_number("n", self.part[1]):
            raise CorpusError(f"a part i/n needs 0 <= i < n, got {self.part[0]}/{self.part[1]}")


@dataclass
class Job:
    """A plan, and what is left of it to do."""

    plan: Plan
    store: Store
    todo: list[Shard]
    n_finished: int  # shards of this part that were finished before


Event = Callable[[int, str, Any], None]


def plan_corpus(
    sources: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], settings: Settings,
    engine: Engine = Engine(), kind: str = "auto", audio_column: str | None = None, retry_failed: bool = False,
) -> Job:  # fmt: skip
    """Return what is to be done; nothing is written.

    Raises CorpusError if a source is missing or empty, or if the output holds another corpus; CheckpointError for an
    unknown model; ValueError for a bitrate that it lacks; MissingTorch if the device needs torch.
    """
    if engine.name != "ray" and is_for_torch(engine.device):
        check_torch(f"--device {engine.device}")
    store = Store(output)
    if not is_url(store.where) and os.path.exists(store.where) and not os.path.isdir(store.where):
        raise CorpusError(f"{store}: is a file; --output names a folder")
    found = Found(audio_column, store.where)
    items = find_items([os.fspath(source) for source in sources], kind, found)
    plan = make_plan(items, settings, open_codec(settings.model, engine.runtime, "cpu"), found.left_out)
    check_same(store, plan)
    records = read_records(store) if store.read(PLAN) is not None else {}  # without it, nobody knows what shards hold
    done = {i for i, record in records.items() if is_finished(store, record) and not (retry_failed and record["failed"])}
    first, step = engine.part
    own = range(first, len(plan.shards), step)
    todo = [Shard(i, plan.shards[i]) for i in own if i not in done]
    return Job(plan, store, todo, len(own) - len(todo))


def encode_corpus(
    sources: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], settings: Settings = Settings(),  # noqa: B008
    engine: Engine = Engine(), *, kind: str = "auto", audio_column: str | None = None, retry_failed: bool = False,
    event: Event = lambda worker, kind, value: None,
) -> dict[str, Any]:  # fmt: skip
    """Tokenise all audio of the sources into shards in the folder `output`; return the manifest.

    After an interruption, the same call continues: finished shards are kept. A recording that cannot be read costs a line
    in failures.jsonl; `retry_failed` makes the shards with such recordings again. `event` receives progress: see work.Tell.
    Raises what `plan_corpus` raises, and CorpusError if the output cannot be written.
    """
    job = plan_corpus(sources, output, settings, engine, kind, audio_column, retry_failed)
    return run_job(job, engine, event)


def run_job(job: Job, engine: Engine, event: Event = lambda worker, kind, value: None) -> dict[str, Any]:
    """Carry out a job; return the manifest."""
    plan, store = job.plan, job.store
    if engine.name == "ray":
        from .ray_engine import check_ray

        check_ray(engine.address)
    store.remove_leftovers()
    begin(store, plan)
    for shard in job.todo:
        store.delete(record_name(shard.index))
    n_workers = min(engine.workers or default_workers(engine.device), max(len(job.todo), 1))
    threads = engine.threads or (1 if n_workers > 1 else None)
    task = Task(plan.settings, plan.about, store.where, engine.batch_seconds, engine.device, engine.runtime, threads)
    if engine.name == "ray":
        from .ray_engine import run_in_ray

        run_in_ray(job.todo, task, engine.workers, engine.address, event)
    elif n_workers > 1:
        run_in_processes(job.todo, task, n_workers, event)
    elif job.todo:
        run_here(job.todo, task, event)
    store.remove_leftovers()  # of workers that were killed
    return write_summary(store, plan)


def begin(store: Store, plan: Plan) -> None:
    """Write the plan of a new corpus, after removing records that another corpus left.

    Raises CorpusError if another run has begun a different corpus in the same folder meanwhile.
    """
    records = record_names(store).values()
    if store.read(PLAN) is None:  # records that were there before are not of this corpus
        for name in records:
            store.delete(name)
        store.write(PLAN, (json.dumps(plan.about, indent=1) + "\n").encode(), overwrite=False)
    check_same(store, plan)


def default_workers(device: str) -> int:
    """Return the number of workers: one per processor, or one for a GPU."""
    if device == "auto" and is_for_torch(device):
        import torch

        return 1 if torch.cuda.is_available() else processors()
    return processors() if device in ("cpu", "auto") else 1
