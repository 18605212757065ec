"""Shared parts of benchmarks against reference implementations: timing in turns, spread, memory, and loading audiocraft."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import multiprocessing
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import quantiles
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import torch

from .processor_name import processor_name
from .runner import commit

STATUS = Path("/proc/self/status")
SAMPLING_SECONDS = 0.005  # between two samples of a process's memory
AUDIOCRAFT = ("audiocraft", "audiocraft.models", "audiocraft.modules", "audiocraft.solvers", "audiocraft.utils")
STAND_INS = {
    "xformers": (),
    "xformers.ops": (),
    "audiocraft.models.encodec": ("CompressionModel",),
    "audiocraft.models.loaders": ("load_compression_model", "load_diffusion_models"),
    "audiocraft.solvers.compression": ("CompressionSolver",),
}  # modules that only loading and training use


def measurement_conditions(seed: int) -> dict[str, Any]:
    """Return the conditions of a measurement: machine, threads, versions, seed."""
    threads = torch.get_num_threads()
    return {"device": processor_name(), "threads": threads, "torch": torch.__version__, "seed": seed, "commit": commit()}


def conditions_sentence(found: Mapping[str, Any]) -> str:
    """Return the result of `measurement_conditions` as one sentence."""
    tree = found["commit"].rstrip("+") or "unknown"
    return f"Seed {found['seed']}, commit {tree}, {found['device']}, {found['threads']} threads, torch {found['torch']}."


def in_turns(calls: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Run all calls in turns; return the seconds of each call in each turn. The first turn is a warm-up and not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def median_iqr(times: list[float], n_parts: int) -> dict[str, float]:
    """Return the median time per part in seconds, and the interquartile range as a fraction of the median."""
    low, median, high = quantiles(times, n=4)
    return {"seconds": round(median / n_parts, 6), "spread": round((high - low) / median, 3)}


def in_subprocess(function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`, called in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return pool.submit(function, *args).result()


def memory_of(call: Callable[[], Any]) -> dict[str, float]:
    """Return the peak memory in megabytes (10^6 bytes) that a call adds to this process.

    `resident` is all of it; `private` excludes pages of files, which the system can reclaim when it needs memory.
    """
    gc.collect()  # garbage of earlier work, and what the allocator kept of it, must not make room for the call
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    if not STATUS.exists():
        call()
        return {"resident": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1), "private": float("nan")}
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the recorded peak
    before, private, is_done = _status(), [0.0], threading.Event()

    def watch() -> None:
        while not is_done.wait(SAMPLING_SECONDS):
            private.append(_status()["RssAnon"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        is_done.set()
        watcher.join()
    return {
        "resident": round(_status()["VmHWM"] - before["VmRSS"], 1),
        "private": round(max(*private, _status()["RssAnon"]) - before["RssAnon"], 1),
    }


def _status() -> dict[str, float]:
    fields = (line.split(":") for line in STATUS.read_text().splitlines())
    return {name: int(value.split()[0]) * 1024 / 1e6 for name, value in fields if name in ("VmHWM", "VmRSS", "RssAnon")}


def audiocraft_diffusion() -> SimpleNamespace:
    """Import audiocraft's modules `unet`, `schedule` and `decoder` without the other dependencies of its packages.

    Empty packages temporarily replace the real ones, whose __init__ files import everything.
    Raises ClickException if audiocraft or julius is not installed.
    """
    spec = importlib.util.find_spec("audiocraft")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("julius") is None:
        raise click.ClickException("this needs audiocraft and julius: pip install --no-deps audiocraft==1.3.0 julius")
    with _stand_ins(spec.submodule_search_locations[0]):
        return SimpleNamespace(
            unet=importlib.import_module("audiocraft.models.unet"),
            schedule=importlib.import_module("audiocraft.modules.diffusion_schedule"),
            decoder=importlib.import_module("audiocraft.models.multibanddiffusion"),
        )


@contextlib.contextmanager
def _stand_ins(root: str) -> Iterator[None]:
    made = {name: ModuleType(name) for name in (*AUDIOCRAFT, *STAND_INS)}
    for name in AUDIOCRAFT:
        made[name].__path__ = [root + name.removeprefix("audiocraft").replace(".", "/")]
    for name, attributes in STAND_INS.items():
        for attribute in attributes:
            setattr(made[name], attribute, object)
    made["xformers"].ops = made["xformers.ops"]  # type: ignore[attr-defined]
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_stood_in(name)}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_stood_in(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


def _is_stood_in(name: str) -> bool:
    return name.split(".")[0] in ("audiocraft", "xformers")
