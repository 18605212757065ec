"""The range coder: kernel equals reference, decoding undoes encoding, sizes are the entropy's, other bytes are refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ecdc.format.entropy import rangecoder
from ecdc.format.entropy.rangecoder import TOTAL, decode_all, decode_all_ref, encode, encode_ref
from hypothesis import given, settings
from hypothesis import strategies as st


def tables_of(weights):
    """Cumulated frequencies [n, V+1] near to weights [n, V], each at least 1."""
    weights = np.asarray(weights, np.float64)
    size = weights.shape[1]
    frequencies = 1 + np.floor(weights / weights.sum(1, keepdims=True) * (TOTAL - size)).astype(np.int64)
    frequencies[:, -1] += TOTAL - frequencies.sum(1)
    return np.concatenate([np.zeros((len(weights), 1), np.int64), frequencies.cumsum(1)], axis=1)


def coded(symbols, tables):
    rows = np.arange(len(symbols))
    starts = tables[rows, symbols]
    return starts, tables[rows, symbols + 1] - starts


@st.composite
def cases(draw):
    size = draw(st.integers(2, 40))
    n = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = rng.random((n, size)) ** draw(st.sampled_from([0.1, 1, 8, 40])) + 1e-12
    return rng.integers(0, size, n), tables_of(weights) if n else np.zeros((0, size + 1), np.int64)


@given(cases())
@settings(deadline=None)
def test_kernels_equal_references_and_decoding_undoes_encoding(case):
    symbols, tables = case
    data = encode(*coded(symbols, tables))
    assert data == encode_ref(*coded(symbols, tables))
    assert np.array_equal(decode_all(data, tables), symbols) and np.array_equal(decode_all_ref(data, tables), symbols)


@given(cases(), st.data())
@settings(deadline=None)
def test_other_bytes_are_refused_or_give_other_symbols(case, data):
    symbols, tables = case
    good = encode(*coded(symbols, tables))
    broken = bytearray(good)
    if data.draw(st.booleans()):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del broken[data.draw(st.integers(0, len(broken) - 1)) :]
    results = []
    for decode in (decode_all, decode_all_ref):
        try:
            results.append(decode(bytes(broken), tables).tolist())
        except ValueError:
            results.append(None)
    assert results[0] == results[1] and results[0] != symbols.tolist()


def test_sizes_are_the_entropy():
    rng = np.random.default_rng(0)
    weights = np.array([0.9, 0.05, 0.03, 0.02])
    tables = np.repeat(tables_of(weights[None]), 100_000, axis=0)
    symbols = rng.choice(4, 100_000, p=weights)
    wanted = -np.log2(weights[symbols]).sum() / 8
    assert wanted < len(encode(*coded(symbols, tables))) < 1.0002 * wanted + 12


@pytest.mark.parametrize(
    ("starts", "frequencies"),
    [([0], [0]), ([0], [TOTAL]), ([-1], [5]), ([TOTAL - 1], [2]), ([0, 1], [1]), ([[0]], [[1]])],
)
def test_intervals_that_are_none(starts, frequencies):
    with pytest.raises(ValueError):
        encode(np.array(starts), np.array(frequencies))


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8), bytes(9), b"\xff" * 8])
def test_payloads_that_are_none(data):
    with pytest.raises(ValueError):
        rangecoder.read_payload(data)


def test_without_the_compiler_it_is_the_same():
    script = (
        "import numpy as np; from ecdc.format.entropy.rangecoder import encode, decode_all\n"
        "tables = np.array([[0, 5, 1 << 24]] * 50); symbols = np.arange(50) % 2\n"
        "data = encode(tables[:, 0] + 5 * symbols, np.where(symbols, (1 << 24) - 5, 5))\n"
        "assert decode_all(data, tables).tolist() == symbols.tolist(); print(data.hex())"
    )
    outputs = [
        subprocess.run([sys.executable, "-W", "error", "-c", script], env=os.environ | {"NUMBA_DISABLE_JIT": flag},
                       capture_output=True, text=True, check=True).stdout
        for flag in ("0", "1")
    ]  # fmt: skip
    assert outputs[0] == outputs[1] != ""
