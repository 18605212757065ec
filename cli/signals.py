"""Process start and end: SIGTERM and SIGHUP handled like Ctrl-C, closed standard streams, one line if interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import click

EXIT_INTERRUPTED = 130
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # in addition to SIGINT


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, unless the process was started with them ignored or handled.

    Child processes forked inside the block end at once, as they would without it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(number: int, frame: object) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in ENDING}
    ours = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextlib.contextmanager
def calls_on_interrupt(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C, SIGTERM or SIGHUP inside the block; later ones raise KeyboardInterrupt as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    handled = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in handled.items():
            signal.signal(number, handler)

    def first(number: int, frame: object) -> None:
        restore()
        stop()

    for number in handled:
        signal.signal(number, first)
    try:
        yield
    finally:
        restore()


def hold_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed, so that no file of ours gets their descriptor.

    Otherwise, text printed by a library would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def interrupted() -> SystemExit:
    """Print that the command was interrupted, and return the exception to raise."""
    click.echo("ecdc: interrupted; nothing partial was left behind", err=True)
    return SystemExit(EXIT_INTERRUPTED)
