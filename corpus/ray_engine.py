"""The Ray engine: Ray Data hands the shards to actors, on this machine or on a cluster. The work is that of every engine.

Every machine needs ecdc, and sees the sources and the output under the same names.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import socket
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ..format.errors import EcdcError
from .errors import CorpusError, library, one_line
from .local import BEFORE, DIED, TRIES, Event, Shard
from .records import is_finished, reading_name, record_name
from .store import Store, is_url
from .work import Task, Worker

ANSWER_SECONDS = 5.0
MOST_BLOCKS = 4000  # of Ray; each holds one shard or more


def run_in_ray(shards: list[Shard], task: Task, n_workers: int | None, address: str | None, event: Event) -> None:
    """Make the shards with Ray Data. Raises CorpusError if Ray is not there or a shard cannot be written."""
    if not shards:
        return
    with session(n_workers, address) as ray:
        is_cpu = task.device == "cpu"
        resource = "CPU" if is_cpu else "GPU"
        n_workers = n_workers or int(ray.cluster_resources().get(resource, 0))
        if n_workers < 1:
            raise CorpusError(f"the Ray cluster has no {resource}; choose another --device, or give --workers")
        n_workers = min(n_workers, len(shards))
        jobs = [{"job": zlib.compress(pickle.dumps((shard.index, shard.items)))} for shard in shards]
        made = ray.data.from_items(jobs, override_num_blocks=min(len(jobs), MOST_BLOCKS)).map_batches(
            Actor, fn_constructor_args=(task,), batch_size=1, concurrency=(1, n_workers), num_cpus=1,
            num_gpus=0 if is_cpu else 1,
        )  # fmt: skip
        names: dict[str, int] = {}
        for row in made.iter_rows():
            found = json.loads(row["record"])
            if "error" in found:
                raise CorpusError(found["error"])
            worker = names.setdefault(found.pop("worker"), len(names))
            event(worker, "read", (found.pop("n_bytes"), found["seconds"]))
            event(worker, "done", found)


@contextlib.contextmanager
def session(n_workers: int | None, address: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start Ray here; a session that was open before stays open."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = library("ray", "ray", "--engine ray")
    library("ray.data", "ray", "--engine ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield ray
        return
    try:
        own = {} if address else {"num_cpus": n_workers, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise CorpusError(f"Ray cannot start or connect to {address or 'this machine'} ({one_line(error):.200})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def check_ray(address: str | None) -> None:
    """Raise CorpusError if Ray is not installed, or nothing answers at HOST:PORT. Ray itself would wait for minutes."""
    if find_spec("ray") is None:
        library("ray", "ray", "--engine ray")
    if address in (None, "auto", "local"):
        return
    assert address is not None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise CorpusError(f"--address {address}: must be HOST:PORT, or auto")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise CorpusError(f"--address {address}: the cluster does not answer ({one_line(error)})") from None


class Actor:
    """Makes shards in a process of Ray. If it dies, Ray restarts it and gives it the shard again."""

    def __init__(self, task: Task) -> None:
        self.error = ""
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        try:
            self.worker = Worker(task)
        except (EcdcError, OSError) as error:  # an error here would be raised with pages of text
            self.error = one_line(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Make the shards of a batch; returns their records as JSON."""
        return {"record": [json.dumps(self._make(*pickle.loads(zlib.decompress(job)))) for job in batch["job"]]}

    def _make(self, index: int, items: list[Any]) -> dict[str, Any]:
        if self.error:
            return {"error": self.error}
        facts = {"worker": self.name, "n_bytes": sum(item.n_bytes for item in items)}
        store = self.worker.store
        try:
            known = store.read(record_name(index))
            if known is not None and is_finished(store, json.loads(known)):  # made before the process that reported it died
                Attempts(store, index).end()
                return json.loads(known) | facts
            attempts = Attempts(store, index)
            record = self.worker.make(index, items, attempts, attempts.skip)
            attempts.end()
        except (EcdcError, OSError, MemoryError) as error:
            return {"error": one_line(error)}
        return record | facts


class Attempts:
    """Remembers in a hidden file which item of a shard is being read, so that one that kills its process is given up."""

    def __init__(self, store: Store, shard: int) -> None:
        self._store, self._name = store, reading_name(shard)
        self._deaths: dict[str, int] = {}
        self._at = BEFORE
        if not is_url(store.where):
            with contextlib.suppress(ValueError):
                self._deaths, self._at = json.loads(store.read(self._name) or b"[{}, -1]")
        if self._at != BEFORE:  # the process that wrote this has died
            self._deaths[str(self._at)] = self._deaths.get(str(self._at), 0) + 1
        self.skip = {int(at): DIED for at, deaths in self._deaths.items() if deaths >= TRIES}

    def __call__(self, kind: str, value: Any) -> None:
        """Receive an event of the work."""
        if kind == "begin" and not is_url(self._store.where):
            path = f"{self._store.where}/{self._name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                json.dump([self._deaths, value], file)

    def end(self) -> None:
        """Forget the shard, which is made."""
        self._store.delete(self._name)
