"""Options for the device and the number of threads of networks."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

DEVICES = ("auto", "cpu", "cuda", "mps")
MOST_THREADS = 8  # the networks are small: more threads mostly wait for each other


def threads_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option --threads."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help=f"Threads of one process. Default: OMP_NUM_THREADS, or one per processor, at most {MOST_THREADS}.",
    )(command)


def compute_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options --threads and --device."""
    command = click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="cpu",
        show_default=True,
        help="Where networks compute. A GPU that would give other tokens is refused; auto takes the CPU then.",
    )(command)
    return threads_option(command)


def settle_threads(threads: int | None, usual: int | None = None) -> None:
    """Set torch's threads in this process. Call it before torch is imported.

    OpenMP threads that wait for each other normally spin. On a busy machine they then take the processor from the thread
    that they wait for, and everything takes ten times as long as on one thread. Here they sleep instead.
    `usual` is the default number of threads; None: one per processor, at most MOST_THREADS.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(threads or usual or min(torch.get_num_threads(), processors(), MOST_THREADS))


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
