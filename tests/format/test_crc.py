import numpy as np
import pytest
from ecdc.format import crc
from ecdc.format.crc import crc32c, crc32c_ref
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("data", "value"),  # RFC 3720, appendix B.4, and the customary check value
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_published_values(data, value):
    assert crc32c(data) == crc32c_ref(data) == value


@given(st.binary(min_size=4, max_size=1200), st.integers(0, 2**32 - 1))
def test_blocks_equal_the_reference(data, start):
    assert crc._in_blocks(data, start) == crc32c_ref(data, start)


@pytest.mark.parametrize("n_bytes", [511, 512, 513, 4096, 65_535, 65_536, 65_537, 70_001])
def test_long_data_too(n_bytes):
    data = np.random.default_rng(n_bytes).bytes(n_bytes)
    assert crc32c(data, 7) == crc32c(data[99:], crc32c(data[:99], 7)) == crc32c_ref(data, 7)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_parts_give_what_the_whole_gives(a, b):
    assert crc32c(b, crc32c(a)) == crc32c(a + b)


@pytest.mark.parametrize("n_bytes", [1000, 5000])
def test_any_kind_of_bytes_will_do(n_bytes):
    data = np.random.default_rng(0).bytes(n_bytes)
    assert crc32c(data) == crc32c(memoryview(bytearray(data))) == crc32c_ref(memoryview(data))
