"""A short run of the fuzzer, always the same one, and the memory that small files may claim."""

import itertools
import tracemalloc

import fuzz_reader
import pytest
from cases import pieces
from ecdc.format.chunk import build_chunk
from ecdc.format.schema import Kind


def test_mutations_of_the_golden_streams():
    for data in itertools.islice(fuzz_reader.mutations(seed=1), 400):
        fuzz_reader.check(data)


def test_streams_that_failed_once():
    """Each was found by the fuzzer, and stands here under the name of what was wrong."""
    found = sorted((fuzz_reader.HERE / "found").glob("*.ecdc"))
    assert found
    for path in found:
        fuzz_reader.check(path.read_bytes())
        fuzz_reader.check(fuzz_reader.repair(path.read_bytes()))


def test_small_files_claim_little_memory():
    tracemalloc.start()
    try:
        for data in itertools.islice(fuzz_reader.mutations(seed=2), 100):
            fuzz_reader.check(data[: fuzz_reader.SMALL])
        head = pieces((fuzz_reader.HERE / "golden/mono.ecdc").read_bytes())[0]
        bodies = [(65_535 * i).to_bytes(8, "little") + b"\xff\xff\0\0" for i in range(24)]
        silence = b"".join(build_chunk(Kind.CODES, 0, i, body) for i, body in enumerate(bodies))
        fuzz_reader.check(head + silence)
        v0 = b'{"m": "encodec_24khz", "al": 281474976710656, "nc": 32, "lm": false}'
        fuzz_reader.check(b"ECDC\0" + len(v0).to_bytes(4, "big") + v0)
        fuzz_reader.check(b"ECDC\0" + len(v0).to_bytes(4, "big") + v0.replace(b"24khz", b"48khz"))
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError()])
def test_anything_but_a_format_error_is_reported(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(fuzz_reader, "ways", lambda: {"a way": fail})
    with pytest.raises(AssertionError, match=r"a way: .*for b'data'"):
        fuzz_reader.check(b"data")
