"""Options for the device and the number of threads of networks."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from ..codec.threads import MOST_THREADS, settle

DEVICES = ("auto", "cpu", "cuda", "mps")
RUNTIMES = ("auto", "onnx", "torch")


def threads_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option --threads."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help=f"Threads per process. Default: OMP_NUM_THREADS, or one per processor, at most {MOST_THREADS}.",
    )(command)


def compute_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options --threads, --device and --runtime."""
    command = click.option(
        "--runtime",
        type=click.Choice(RUNTIMES),
        default="auto",
        show_default=True,
        help="What runs the networks. auto: onnx, which needs no PyTorch, if the model has graphs. Both give the same tokens.",
    )(command)
    command = click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="cpu",
        show_default=True,
        help="Where to run the networks. A GPU that would give different tokens is refused; auto then uses the CPU.",
    )(command)
    return threads_option(command)


def settle_threads(number: int | None, usual: int | None = None) -> None:
    """Settle the threads of this process: `number`, else OMP_NUM_THREADS, else `usual`, else one per processor."""
    settle(number or (None if "OMP_NUM_THREADS" in os.environ else usual))
