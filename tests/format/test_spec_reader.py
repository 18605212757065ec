"""A reader written from SPEC.md alone gives what ours gives, on every golden stream and on any that the writer makes."""

import ast
import io
import sys

import make_golden
import numpy as np
import pytest
import spec_reader
from cases import headers, pieces, sealed
from ecdc.format.errors import FormatError
from ecdc.format.header import Header
from ecdc.format.reader import Reader
from ecdc.format.writer import Writer
from hypothesis import given, settings
from hypothesis import strategies as st

V1 = [path for path in sorted(make_golden.HERE.glob("*.ecdc")) if not path.stem.startswith("v0_")]
PRIOR = spec_reader.Prior((make_golden.HERE / "small.prior").read_bytes())
FIELDS = ("n_streams", "codec", "prior", "token_space", *make_golden.HEADER_FIELDS)


def assert_same(data: bytes) -> None:
    """Both readers refuse `data`, or both give the same."""
    reader = None
    try:
        reader = Reader(io.BytesIO(data))
        chunks = list(reader)
    except FormatError:
        with pytest.raises(spec_reader.Refused):
            spec_reader.read(data, PRIOR)
        return
    header, lengths, found = spec_reader.read(data, PRIOR)
    for name in FIELDS:
        value = getattr(reader.header, name)
        assert header[name] == ([tuple(tag) for tag in value] if name == "tags" else value), name
    assert lengths == {name: getattr(reader, name) for name in lengths}
    assert len(found) == len(chunks)
    for ours, theirs in zip(chunks, found, strict=True):
        assert (ours.first_frame, ours.n_codebooks, ours.scale) == tuple(
            theirs[name] for name in ("first_frame", "n_codebooks", "scale")
        )
        assert ours.codes.T.tolist() == theirs["codes"]


@pytest.mark.parametrize("path", V1, ids=lambda path: path.stem)
def test_golden_streams(path):
    assert_same(path.read_bytes())
    if path.stem in ("damaged", "truncated"):
        with pytest.raises(spec_reader.Refused):
            spec_reader.read(path.read_bytes(), PRIOR)


def test_versions_other_than_1_are_refused():
    paths = sorted(make_golden.HERE.glob("v0_*.ecdc"))
    assert paths
    for path in paths:
        with pytest.raises(spec_reader.Refused, match="major"):
            spec_reader.read(path.read_bytes(), PRIOR)


def has_open_lengths(header: Header) -> bool:
    """Return True if the writer computes the lengths, and they cannot exceed the format's limit of 2**48 samples."""
    is_open = header.n_samples is header.original_n_samples is None
    return is_open and header.pre_skip < 2**20 and header.original_sample_rate <= header.sample_rate << 16


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Any stream: any header, codes of any K in any number of chunks, segments with and without scales."""
    header: Header = draw(headers().filter(has_open_lengths))
    stream = io.BytesIO()
    with Writer(stream, header, draw(st.integers(1, 20))) as writer:
        for seed in range(draw(st.integers(0, 4))):
            highest = min(header.max_codebooks, 6)
            ks = draw(st.lists(st.integers(0, highest), min_size=header.n_streams, max_size=header.n_streams))
            longest = min(header.segment_frames, 20) if header.segment_length else 20
            shape = sum(ks), draw(st.integers(1, longest))
            codes = np.random.default_rng(seed).integers(0, header.codebook_size, shape)
            if header.segment_length:
                writer.append_segment(codes, draw(st.none() | st.floats(2.0**-20, 2.0**20, width=32)), ks)
            else:
                writer.append(codes, ks)
    return stream.getvalue()


@settings(max_examples=60)
@given(streams())
def test_streams_that_the_writer_makes(data):
    assert_same(data)


@settings(max_examples=150)
@given(st.sampled_from([path.read_bytes() for path in V1 if path.stem != "truncated"]), st.data())
def test_the_same_streams_are_refused(stream, data):
    """Bytes changed and checksums made right again: what a careless writer would make."""
    parts = pieces(stream)
    i = data.draw(st.integers(0, len(parts) - 1))
    part = bytearray(parts[i])
    part[data.draw(st.integers(4, len(part) - 5))] = data.draw(st.integers(0, 255))
    parts[i] = sealed(bytes(part))
    assert_same(b"".join(parts))


def test_it_stands_alone():
    tree = ast.parse((make_golden.HERE.parent / "spec_reader.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
