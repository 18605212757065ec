"""Streams of earlier versions give today what they gave then."""

import json

import make_golden
import pytest

PATHS = sorted(make_golden.HERE.glob("*.ecdc"))
EXPECTED = json.loads((make_golden.HERE / "expected.json").read_text())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_golden_stream(path):
    data = path.read_bytes()
    assert len(data) < 2048
    assert json.loads(json.dumps(make_golden.describe(data))) == EXPECTED[path.stem]


def test_none_is_lost():
    assert [path.stem for path in PATHS] == sorted(EXPECTED) == sorted(make_golden.STREAMS)
