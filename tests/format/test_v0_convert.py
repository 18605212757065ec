"""Version 0 to version 1 and back is the same file; what version 0 has no place for is named."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from cases import Pipe, make_codes, make_header
from ecdc.format import Reader, Writer
from ecdc.format.api import CodeFile
from ecdc.format.v0 import read_v0
from ecdc.format.v0_convert import to_v0, to_v1

GOLDEN = Path(__file__).parent / "golden"
HASH = bytes(range(32))


def converted(function, data, *args):
    out = io.BytesIO()
    function(CodeFile(io.BytesIO(data) if isinstance(data, bytes) else data), out, *args)
    return out.getvalue()


@pytest.mark.parametrize("name", ["v0_24khz", "v0_48khz"])
def test_there_and_back_is_the_same_file(name):
    old = (GOLDEN / f"{name}.ecdc").read_bytes()
    new = converted(to_v1, old, HASH)
    reader, file = Reader(io.BytesIO(new)), read_v0(io.BytesIO(old))
    assert reader.header.token_space == HASH and reader.header.codec == file.model_name
    assert reader.n_samples == reader.original_n_samples == file.n_samples
    assert np.array_equal(reader.codes(), np.concatenate([codes for codes, _ in file.segments], axis=1))
    if file.model.segment_length:
        assert [chunk.scale for chunk in reader] == [scale for _, scale in file.segments]
    assert converted(to_v0, new) == old == converted(to_v0, Pipe(new, 100))
    with pytest.raises(ValueError, match="got version 1"):
        converted(to_v1, new, HASH)
    with pytest.raises(ValueError, match="in version 0"):
        converted(to_v0, old)


def test_long_files_have_many_chunks():
    header = make_header(codec="encodec_24khz", max_codebooks=32)
    out = io.BytesIO()
    with Writer(out, header) as writer:
        writer.append(make_codes(8, 2000))
        writer.close(639_777)
    file = read_v0(io.BytesIO(converted(to_v0, out.getvalue())))
    assert np.array_equal(file.segments[0][0], make_codes(8, 2000)) and file.n_samples == 639_777


@pytest.mark.parametrize(
    "fields, ks, message",
    [
        ({"codec": "nano-24k"}, [4], "encodec_24khz and encodec_48khz only, got nano-24k"),
        ({"hop_length": 640}, [4], "has hop_length 320 for this model, got 640"),
        ({"pre_skip": 5}, [4], "cannot store a gain or a pre-skip"),
        ({"output_gain": 5}, [4], "cannot store a gain"),
        ({}, [4, 2], "the same number of codebooks"),
    ],
)
def test_what_version_0_cannot_hold_is_named(fields, ks, message):
    out = io.BytesIO()
    with Writer(out, dataclasses.replace(make_header(codec="encodec_24khz", max_codebooks=32), **fields)) as writer:
        for k in ks:
            writer.append(make_codes(k, 10))
    with pytest.raises(ValueError, match=message):
        converted(to_v0, out.getvalue())
