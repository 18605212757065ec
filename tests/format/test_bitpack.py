import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from ecdc.format import bitpack
from ecdc.format.bitpack import pack_codes, pack_codes_ref, unpack_codes, unpack_codes_ref
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def packable(draw):
    bits = draw(st.integers(1, 16))
    return np.array(draw(st.lists(st.integers(0, 2**bits - 1), max_size=50)), np.uint16), bits


@pytest.mark.parametrize("is_plain", [False, True], ids=["numba", "numpy"])
@given(packable())
def test_kernels_equal_their_references(is_plain, case):
    codes, bits = case
    with mock.patch.object(bitpack, "_is_plain", lambda n_codes: is_plain):
        data = pack_codes(codes, bits)
        assert data == pack_codes_ref(codes, bits)
        assert np.array_equal(unpack_codes(data, len(codes), bits), unpack_codes_ref(data, len(codes), bits))


@given(packable())
def test_unpacking_undoes_packing(case):
    codes, bits = case
    assert np.array_equal(unpack_codes(pack_codes(codes, bits), len(codes), bits), codes)


@given(packable())
def test_only_the_exact_number_of_bytes_unpacks(case):
    codes, bits = case
    data = pack_codes(codes, bits)
    with pytest.raises(ValueError, match="bytes"):
        unpack_codes(data + b"\0", len(codes), bits)
    with pytest.raises(ValueError, match="bytes"):
        unpack_codes(data, len(codes) + 8, bits)


@pytest.mark.parametrize(("n_codes", "bits", "bit"), [(1, 10, 10), (1, 10, 15), (3, 1, 7), (7, 11, 77)])
def test_a_set_bit_after_the_last_code_is_refused(n_codes, bits, bit):
    data = bytearray(pack_codes(np.zeros(n_codes, np.uint16), bits))
    data[bit // 8] |= 1 << bit % 8
    with pytest.raises(ValueError, match="unused bits"):
        unpack_codes(bytes(data), n_codes, bits)


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="below 1024, got 1024"):
        pack_codes(np.array([0, 1024], np.uint16), 10)
    with pytest.raises(ValueError, match=r"\[n\] uint16, got \(1, 2\)"):
        pack_codes(np.zeros((1, 2), np.uint16), 10)
    for bits in (0, 17):
        with pytest.raises(ValueError, match="1 to 16"):
            pack_codes(np.zeros(1, np.uint16), bits)


def test_kernels_give_the_same_without_a_compiler():
    script = (
        "import numba, numpy as np; from ecdc.format import bitpack; codes = np.arange(0, 1024, 7, dtype=np.uint16);"
        "data = bitpack.pack_codes(codes, 11); assert data == bitpack.pack_codes_ref(codes, 11);"
        "assert np.array_equal(bitpack.unpack_codes(data, len(codes), 11), codes)"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True)
