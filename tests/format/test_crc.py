import numpy as np
import pytest
from ecdc.format import crc
from ecdc.format.crc import crc32c, crc32c_ref
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _use_the_kernel(monkeypatch):
    monkeypatch.setattr(crc, "PLAIN_BYTES", -1)


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


@given(st.binary(max_size=70), st.integers(0, 2**32 - 1))
def test_kernel_equals_reference(data, start):
    assert crc32c(data, start) == crc32c_ref(data, start)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_parts_give_what_the_whole_gives(a, b):
    assert crc32c(b, crc32c(a)) == crc32c(a + b)


def test_any_kind_of_bytes_will_do():
    data = np.random.default_rng(0).bytes(1000)
    assert crc32c(data) == crc32c(memoryview(bytearray(data))) == crc32c_ref(memoryview(data))
