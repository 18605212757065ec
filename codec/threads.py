"""How many threads networks use, in either runtime."""

from __future__ import annotations

import os
import sys

NAMES = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
MOST_THREADS = 8  # the networks are small: more threads mostly wait for each other


class _Settled:
    n: int | None = None  # what `settle` was told


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def threads() -> int:
    """Return the number of threads: what was settled, else OMP_NUM_THREADS, else one per processor, at most MOST_THREADS."""
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return _Settled.n or (int(named) if named.isdigit() and int(named) else min(processors(), MOST_THREADS))


def settle(n: int | None) -> None:
    """Set the number of threads of this process; None leaves it to the environment.

    OpenMP threads that wait for each other normally spin. On a busy machine they then take the processor from the thread
    that they wait for, and everything takes ten times as long as on one thread. So this makes waiting threads sleep. The
    threads of numpy's matrix products cannot sleep, so numpy gets one thread unless `n` or the environment says otherwise.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _Settled.n = n
    if n is not None or not NAMES & os.environ.keys():
        from threadpoolctl import threadpool_limits

        threadpool_limits(n or 1, user_api="blas")
    if "torch" in sys.modules:
        settle_torch()


def settle_torch() -> None:
    """Give torch the settled number of threads. Call it after the first import of torch."""
    import torch

    if _Settled.n is not None or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads())
