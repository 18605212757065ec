"""Time entropy coders: ours against the language model of PyPI's encodec, and our range coder against `constriction`.

Medians of turns in one process, with one thread. The speed of the language model depends on the shape of the codes alone.
"""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

import numpy as np

SECONDS, PEER_SECONDS = 20.0, 4.0  # of codes at 6 kbps
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
TURNS = 5


def measure(model: str) -> dict[str, Any]:
    """Measure all figures in a separate process that has one thread from its start."""
    kept = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_measure, model).result()
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _measure(model: str) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {"coders": _coders(model)}
    found["range_coder"] = _range_coder()
    return found


def _timed(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median seconds of each call, timed in turns; the first turn is not counted."""
    from .peers import in_turns

    return {name: median(values) for name, values in in_turns(calls, TURNS).items()}


def _coders(model: str) -> list[dict[str, Any]]:
    """Return the speeds in times real time: the model's prior, PyPI's language model and coder, and our version 0 coder."""
    prior, codes = _prior_and_codes(model)
    payload = prior.encode([codes])
    own = {
        "prior, encode": lambda: prior.encode([codes]),
        "prior, decode": lambda: prior.decode(payload, (len(codes),), codes.shape[1]),
    }
    times = _timed(own | _peer_calls())
    seconds = {name: SECONDS if name in own else PEER_SECONDS for name in times}
    return [{"name": name, "x_real_time": round(seconds[name] / taken, 2)} for name, taken in times.items()]


def _prior_and_codes(model: str) -> tuple[Any, np.ndarray]:
    """Return a model's prior, and its codes [K, T] of SECONDS at 6 kbps."""
    import torch

    from ..codec.checkpoints import load
    from ..format.entropy.installed_priors import find_prior
    from .speed import clip

    codec = load(model)
    with torch.no_grad():
        codes = codec.encode(clip(SECONDS, 0, codec.sample_rate), 6.0)[0].numpy().astype(np.uint16)
    return find_prior(codec.token_space), codes


def _peer_calls() -> dict[str, Callable[[], Any]]:
    """Return the calls of the language model, with random weights and random codes: 75 frames a second of 8 codebooks."""
    import torch

    from ..codec.compat.lm import LanguageModel
    from .encodec_peer import import_encodec

    codes = np.random.default_rng(0).integers(0, 1024, (8, round(PEER_SECONDS * 75)))
    torch.manual_seed(0)
    peer = import_encodec().model.LMModel(32, 1024, num_layers=5, dim=200, past_context=262).eval()
    ours = LanguageModel(peer.state_dict())
    payload = peer_encode(peer, codes)
    if ours.encode(codes) != payload or not np.array_equal(peer_decode(peer, payload, *codes.shape), codes):
        raise AssertionError("the peer's bytes are not ours")
    return {
        "PyPI encodec, encode": lambda: peer_encode(peer, codes),
        "PyPI encodec, decode": lambda: peer_decode(peer, payload, *codes.shape),
        "version 0 writer, encode": lambda: ours.encode(codes),
        "version 0 reader, decode": lambda: ours.decode(payload, *codes.shape),
    }


def peer_encode(model: Any, codes: np.ndarray) -> bytes:
    """Encode codes [K, T] as the reference implementation encodes a segment, step by step with its coder."""
    import torch

    from .encodec_peer import import_encodec

    ac = import_encodec().quantization.ac
    file, states, offset = io.BytesIO(), None, 0
    coder, before = ac.ArithmeticCoder(file), torch.zeros(1, len(codes), 1, dtype=torch.long)
    for frame in codes.T:
        with torch.no_grad():
            probabilities, states, offset = model(before, states, offset)
        before = 1 + torch.from_numpy(frame.copy()).view(1, -1, 1)
        for k, code in enumerate(frame.tolist()):
            coder.push(code, ac.build_stable_quantized_cdf(probabilities[0, :, k, 0], coder.total_range_bits, check=False))
    coder.flush()
    return file.getvalue()


def peer_decode(model: Any, data: bytes, n_codebooks: int, n_frames: int) -> np.ndarray:
    """Decode the bytes of `peer_encode`, step by step with the decoder of the reference implementation."""
    import torch

    from .encodec_peer import import_encodec

    ac = import_encodec().quantization.ac
    decoder, states, offset = ac.ArithmeticDecoder(io.BytesIO(data)), None, 0
    before, frames = torch.zeros(1, n_codebooks, 1, dtype=torch.long), []
    for _ in range(n_frames):
        with torch.no_grad():
            probabilities, states, offset = model(before, states, offset)
        frame = [
            decoder.pull(ac.build_stable_quantized_cdf(probabilities[0, :, k, 0], decoder.total_range_bits, check=False))
            for k in range(n_codebooks)
        ]
        frames.append(frame)
        before = 1 + torch.tensor(frame).view(1, -1, 1)
    return np.array(frames).T


def _range_coder() -> list[dict[str, Any]]:
    """Return the million symbols per second of our coder and of constriction (if installed), with one fixed distribution."""
    from ..format.entropy import rangecoder

    n, size = 500_000, 1024
    rng = np.random.default_rng(0)
    weights = rng.random(size) ** 8
    shares = 1 + np.floor(weights / weights.sum() * (rangecoder.TOTAL - size)).astype(np.int64)
    shares[-1] += rangecoder.TOTAL - shares.sum()
    ends = np.concatenate([[0], shares.cumsum()])
    symbols = np.searchsorted(ends, rng.integers(0, rangecoder.TOTAL, n), "right") - 1
    starts, sizes, tables = ends[symbols], shares[symbols], ends[None]
    data = rangecoder.encode(starts, sizes)
    calls: dict[str, Callable[[], Any]] = {
        "ours, encode": lambda: rangecoder.encode(starts, sizes),
        "ours, decode": lambda: rangecoder.decode_all(data, tables, n),
    }
    try:
        import constriction
    except ImportError:
        constriction = None
    if constriction:
        family = constriction.stream.model.Categorical((shares / rangecoder.TOTAL).astype(np.float32), perfect=False)
        wanted = symbols.astype(np.int32)

        def push() -> Any:
            coder = constriction.stream.stack.AnsCoder()
            coder.encode_reverse(wanted, family)
            return coder

        def pull(words: Any) -> Any:
            return constriction.stream.stack.AnsCoder(words).decode(family, n)

        words = push().get_compressed()
        calls |= {"constriction, encode": push, "constriction, decode": lambda: pull(words)}
    return [{"name": name, "million_symbols": round(n / taken / 1e6, 2)} for name, taken in _timed(calls).items()]


def markdown(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    by_name = {row["name"]: row["x_real_time"] for row in found["coders"]}
    lines = ["| coder, one thread, 6 kbps | times real time | to PyPI encodec |", "|---|---:|---:|"]
    for name, value in by_name.items():
        peer = by_name["PyPI encodec, " + name.rsplit(" ", 1)[1]]
        lines.append(f"| {name} | {value:.1f} | {value / peer:.1f} |")
    lines += ["", "| range coder, 1024 entries | million symbols a second |", "|---|---:|"]
    lines += [f"| {row['name']} | {row['million_symbols']:.2f} |" for row in found["range_coder"]]
    return "\n".join(lines)
