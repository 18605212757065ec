"""Process many files, sequentially or in several processes, with one progress bar."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from .common import EXIT_FAILED, InputError, describe, expected_errors, process, progress_bar, shown
from .folders import Plan, plan_all
from .signals import termination_as_interrupt
from .terminal_text import echo, printable

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Task", "Work", "jobs_option", "plan_all", "run_found"]

Jobs = list[tuple[str, str]]  # source, target
Row = dict[str, Any]
Handle = Callable[[int, str, Any], None]  # job, kind of event, value
TELL_SECONDS = 0.2  # shortest time between two progress reports of a file
STOP_SECONDS = 10.0  # time for a process to clean up before it is killed


class Work(Protocol):
    """A function that processes one file."""

    def __call__(self, source: str, target: str, progress: Callable[[float], None], note: Callable[[str], None]) -> Row:
        """Return the result's row. Call `progress` with the seconds of audio done since its last call, `note` with messages."""
        ...


class Task(Protocol):
    """The work to do on every file. It is pickled to other processes."""

    def prepare(self) -> Work:
        """Load models and return the function for one file. Raises one of `expected_errors` for bad input."""
        ...

    def seconds_of(self, source: str) -> float | None:
        """Return the duration of a file's audio in seconds, or None if it cannot be found quickly."""
        ...


def jobs_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options --jobs and --skip-existing."""
    command = click.option(
        "--skip-existing/--no-skip-existing", default=None, help="Skip inputs whose outputs exist. Default: with folders."
    )(command)
    return click.option(
        "--jobs",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        help="Files processed at the same time, each in its own process.",
    )(command)


def run_found(
    plan: Plan, task: Task, n_workers: int, say: Callable[[Row], None], as_json: bool, quiet: bool, verb: str
) -> None:
    """Carry out a plan. Single files have one bar each; folders and parallel work share one bar.

    Other processes do not have the standard streams of this one, so jobs with '-' are not divided among them.
    """
    if plan.has_folders or (n_workers > 1 and len(plan.jobs) > 1 and not any("-" in job for job in plan.jobs)):
        return run_plan(plan, task, n_workers, say, as_json, quiet, verb)
    if plan.n_existing and not quiet:
        echo(f"ecdc: {plan.n_existing} skipped (outputs exist)", err=True)
    if not plan.jobs:
        return
    work = task.prepare()

    def one(source: str, target: str) -> Row:
        def note(line: str) -> None:
            is_named = any(name in line for name in (shown(source), "standard output" if target == "-" else target))
            echo(printable(f"ecdc: {line if is_named else f'{shown(source)}: {line}'}"), err=True)

        with progress_bar(source, task.seconds_of(source), quiet) as progress:
            return work(source, target, progress, note)

    process(plan.jobs, one, say)


def run_plan(plan: Plan, task: Task, n_workers: int, say: Callable[[Row], None], as_json: bool, quiet: bool, verb: str) -> None:
    """Carry out a plan and print a summary; exits with 1 if anything failed. `verb` is a word such as "encoded"."""
    for path, why in [] if quiet else plan.left_out:
        echo(printable(f"ecdc: {path}: ignored: {why}"), err=True)
    for path, why in plan.failed:
        echo(printable(f"ecdc: {why if path in why else f'{path}: {why}'}"), err=True)
    counts = {"done": 0, "existing": plan.n_existing, "failed": len(plan.failed)}
    _remove_leftovers(plan.jobs)
    with Bar(plan.jobs, quiet) as bar:

        def handle(i: int, kind: str, value: Any) -> None:
            if kind == "progress":
                return bar.part(i, value)
            with bar.aside():
                if kind == "done":
                    if as_json or not bar.is_shown:
                        say(value)
                elif kind != "existing":
                    source = plan.jobs[i][0]
                    echo(printable(f"ecdc: {value if source in value else f'{source}: {value}'}"), err=True)
            if kind in counts:
                counts[kind] += 1
                bar.whole(i)

        run_jobs(plan.jobs, task, n_workers, handle)
    if not quiet:
        parts = f"{counts['done']} {verb}", f"{counts['existing']} skipped (outputs exist)", f"{counts['failed']} failed"
        echo(f"ecdc: {', '.join(parts)}, {len(plan.left_out)} ignored", err=True)
    if counts["failed"]:
        raise SystemExit(EXIT_FAILED)


class Bar:
    """One progress bar over the bytes of all inputs, on stderr, shown only on a terminal."""

    def __init__(self, jobs: Jobs, quiet: bool) -> None:
        self.is_shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._sizes = [_size(source) for source, _ in jobs] if self.is_shown else []
        self._parts: dict[int, float] = {}
        self._n_bytes = self._n_files = 0
        self._bar: Any = None

    def __enter__(self) -> Bar:
        if self.is_shown:
            from tqdm import tqdm

            size = os.get_terminal_size(sys.stderr.fileno())  # 0 by 0 if the terminal's size is unknown
            self._bar = tqdm(
                total=sum(self._sizes), unit="B", unit_scale=True, file=sys.stderr, leave=False,
                dynamic_ncols=size.columns > 0, ncols=None if size.columns else 80, nrows=None if size.lines else 24,
            )  # fmt: skip
            self._show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def part(self, i: int, share: float) -> None:
        """Show file `i` as done to this share, 0 to 1."""
        self._parts[i] = min(max(share, 0.0), 1.0)
        self._show()

    def whole(self, i: int) -> None:
        """Show file `i` as done."""
        self._parts.pop(i, None)
        self._n_files += 1
        self._n_bytes += self._sizes[i] if self.is_shown else 0
        self._show()

    def aside(self) -> contextlib.AbstractContextManager[object]:
        """Return a context manager that hides the bar while lines are printed."""
        from tqdm import tqdm

        return contextlib.nullcontext() if self._bar is None else tqdm.external_write_mode(file=sys.stderr)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"{self._n_files} of {len(self._sizes)} files", refresh=False)
            self._bar.n = round(self._n_bytes + sum(share * self._sizes[i] for i, share in self._parts.items()))
            self._bar.refresh()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def run_jobs(jobs: Jobs, task: Task, n_workers: int, handle: Handle) -> None:
    """Process every job; `handle` receives its events: progress and note, then one of done, existing or failed.

    Raises InputError, or one of `expected_errors`, if the task cannot be prepared.
    """
    if n_workers > 1 and len(jobs) > 1:
        return _run_in_processes(jobs, task, min(n_workers, len(jobs)), handle)
    work = task.prepare() if jobs else None
    for i, (source, target) in enumerate(jobs):
        assert work is not None
        _run_one(work, task, source, target, lambda kind, value, i=i: handle(i, kind, value))  # type: ignore[misc]


def _run_one(work: Work, task: Task, source: str, target: str, tell: Callable[[str, Any], None]) -> None:
    """Process one job and report its events with `tell`."""
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        progress = _shares(task.seconds_of(source), lambda share: tell("progress", share))
        row = work(source, target, progress, lambda line: tell("note", line))
    except FileExistsError as error:  # another process has written it meanwhile
        tell("existing" if Path(target).is_file() else "failed", describe(error))
    except expected_errors() as error:
        tell("failed", describe(error))
    except Exception as error:
        tell("failed", f"{type(error).__name__}: {describe(error)} (a fault in ecdc)")
    else:
        tell("done", row)


def _shares(seconds: float | None, tell: Callable[[float], None]) -> Callable[[float], None]:
    """Return a function that receives seconds done, and reports their share of `seconds` every TELL_SECONDS."""
    done, told = 0.0, time.monotonic()

    def progress(more: float) -> None:
        nonlocal done, told
        done += more
        if seconds and time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            tell(done / seconds)

    return progress


class _Worker:
    """A process that handles one job at a time."""

    def __init__(self, task: Task) -> None:
        import multiprocessing  # slow to import, and not needed for a single file

        context = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        self._process.start()
        theirs.close()
        self.job: int | None = None

    def give(self, i: int, job: tuple[str, str]) -> None:
        """Start on a job."""
        self.job = i
        with contextlib.suppress(OSError):  # the process died; the next read reports it
            self.connection.send(job)

    def stop(self) -> None:
        """End the process. It removes its unfinished output first."""
        self.connection.close()
        if self.job is not None:
            self._process.terminate()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _run_in_processes(jobs: Jobs, task: Task, n_workers: int, handle: Handle) -> None:
    from multiprocessing.connection import wait

    waiting = deque(range(len(jobs)))
    workers: list[_Worker] = []

    def next_job(worker: _Worker) -> None:
        worker.job = None
        if waiting:
            i = waiting.popleft()
            worker.give(i, jobs[i])

    try:
        for _ in range(n_workers):
            workers.append(_Worker(task))
            next_job(workers[-1])
        while busy := [worker for worker in workers if worker.job is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                kind, value = _received(worker.connection)
                if kind == "unprepared":
                    raise InputError(value)
                assert worker.job is not None
                handle(worker.job, kind, value)
                if kind == "failed" and value == DIED:
                    worker.stop()
                    workers[workers.index(worker)] = worker = _Worker(task)
                if kind not in ("progress", "note"):
                    next_job(worker)
    finally:
        for worker in workers:
            worker.stop()


DIED = "its worker process was killed, perhaps because memory ran out"


def _received(connection: Connection) -> tuple[str, Any]:
    try:
        kind, value = connection.recv()
    except (EOFError, OSError):
        return "failed", DIED
    return kind, value


def _serve(connection: Connection, task: Task) -> None:
    """Run a worker process: receive jobs, send events, and end when the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives Ctrl-C too, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with termination_as_interrupt(), contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        try:
            work = task.prepare()
        except expected_errors() as error:
            return connection.send(("unprepared", describe(error)))
        while True:
            source, target = connection.recv()
            _run_one(work, task, source, target, lambda kind, value: connection.send((kind, value)))


def _end_with_parent() -> None:
    """Wait for the parent to end, then clean up and end this process."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _remove_leftovers(jobs: Jobs) -> None:
    """Remove partial files that killed runs left beside the outputs."""
    from ..format.files import remove_leftovers

    for folder in sorted({Path(target).parent for _, target in jobs}):
        remove_leftovers(folder)
