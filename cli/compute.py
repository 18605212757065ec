"""Where and with how many threads networks compute."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

DEVICES = ("auto", "cpu", "cuda", "mps")
MOST_THREADS = 8  # these networks are small: more threads wait for each other rather than work


def threads_option(command: Callable[..., None]) -> Callable[..., None]:
    """The option --threads."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help=f"Threads of one process. Default: OMP_NUM_THREADS, or one per processor, at most {MOST_THREADS}.",
    )(command)


def compute_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options --threads and --device."""
    command = click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="cpu",
        show_default=True,
        help="Where networks compute. A GPU that would give other tokens is refused; auto takes the CPU then.",
    )(command)
    return threads_option(command)


def settle_threads(threads: int | None, usual: int | None = None) -> None:
    """Set how torch computes in this process. Call it before torch is imported.

    Threads of OpenMP that wait for each other usually spin. On a machine that is busy the one that all wait for does not get
    a processor meanwhile, and everything takes ten times as long as on one thread. Here they sleep instead.
    `usual` is the default in place of one thread per processor.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(threads or usual or min(torch.get_num_threads(), processors(), MOST_THREADS))


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
