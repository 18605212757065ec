"""The local engine: a pool of processes, each of which makes one shard at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from ..format.errors import EcdcError
from .errors import CorpusError, one_line
from .items import Item
from .work import Task, Worker

STOP_SECONDS = 10.0
TRIES = 3  # deaths of a process on one item, after which the item is given up
DIED = "killed its process three times (perhaps memory ran out)"
BEFORE = -1  # stands for an item: the process has not begun to read
Event = Callable[[int, str, Any], None]  # number of the worker, kind, value: see work.Tell; also ("done", record)


@dataclass
class Shard:
    """A shard to be made."""

    index: int
    items: list[Item]
    skip: dict[int, str] = field(default_factory=dict)  # reason for items that are given up
    deaths: dict[int, int] = field(default_factory=dict)  # of processes, by the item that they worked on


class _Process:
    """A process that makes one shard at a time."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        with _few_threads(task.threads), _without_main():
            self._process.start()
        theirs.close()
        self.shard: Shard | None = None
        self.at = BEFORE  # the item that it works on

    def give(self, shard: Shard) -> None:
        """Start on a shard."""
        self.shard, self.at = shard, BEFORE
        with contextlib.suppress(OSError):  # the process died; the next read notices
            self.connection.send((shard.index, shard.items, shard.skip))

    def stop(self) -> None:
        """End the process; it removes its unfinished files first."""
        self.connection.close()  # an idle process ends then
        if self.shard is not None:
            self._process.terminate()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def _few_threads(number: int | None) -> Iterator[None]:
    """Pin the threads of libraries in processes that start inside of the block."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    if number is not None:
        os.environ.update(dict.fromkeys(names, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from running the user's script again: they need nothing of it, and it may have no main guard."""
    main = sys.modules["__main__"]
    before: dict[str, Any] = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(before)


def run_here(shards: list[Shard], task: Task, event: Event) -> None:
    """Make the shards in this process."""
    worker = Worker(task)
    for shard in shards:
        event(0, "done", worker.make(shard.index, shard.items, lambda kind, value: event(0, kind, value), shard.skip))


def run_in_processes(shards: list[Shard], task: Task, n_workers: int, event: Event) -> None:
    """Make the shards in processes. One that dies is replaced, and its shard made again.

    Raises CorpusError if a worker cannot start or cannot write; all processes end first.
    """
    waiting = deque(shards)
    workers: list[_Process] = []
    try:
        for _ in range(min(n_workers, len(shards))):
            workers.append(_Process(task))
            workers[-1].give(waiting.popleft())
        while busy := [worker for worker in workers if worker.shard is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                _handle(worker, workers, waiting, task, event)
    finally:
        for worker in workers:
            worker.stop()


def _handle(worker: _Process, workers: list[_Process], waiting: deque[Shard], task: Task, event: Event) -> None:
    """Handle one message of a process, or its death."""
    number, shard = workers.index(worker), worker.shard
    assert shard is not None
    try:
        kind, value = worker.connection.recv()
    except (EOFError, OSError):
        shard.deaths[worker.at] = shard.deaths.get(worker.at, 0) + 1
        if shard.deaths[worker.at] >= TRIES:
            if worker.at == BEFORE:
                raise CorpusError("the worker processes die before they begin, perhaps because memory ran out") from None
            shard.skip[worker.at] = DIED
        worker.stop()
        event(number, "died", None)
        workers[number] = _Process(task)
        workers[number].give(shard)
        return
    if kind == "failed":
        raise CorpusError(value)
    if kind == "begin":
        worker.at = value
    event(number, kind, value)
    if kind == "done":
        worker.shard = None
        if waiting:
            worker.give(waiting.popleft())


def _serve(connection: Connection, task: Task) -> None:
    """Run a worker process until its connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives Ctrl-C too, and ends this process
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        try:
            _make_shards(connection, task)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is left to clean up: the interpreter may end undisturbed


def _make_shards(connection: Connection, task: Task) -> None:
    """Make the shards that the parent sends, until it closes the connection or a shard cannot be written."""
    try:
        worker = Worker(task)
        while True:
            index, items, skip = connection.recv()
            record = worker.make(index, items, lambda kind, value: connection.send((kind, value)), skip)
            connection.send(("done", record))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except (EcdcError, OSError, MemoryError) as error:
        connection.send(("failed", one_line(error)))


def _end(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Wait for the parent to end, then clean up and end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
