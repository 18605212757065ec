"""Lets these tests import their own helpers and the codec's, under any import mode."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from ecdc.cli.main import main

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "codec"), str(HERE.parent)]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def call_generate():
    """Call `ecdc generate ARGS`; checks the exit code and returns stderr."""

    def call(*args, stdin=b"", code=0):
        err, out = io.StringIO(), io.TextIOWrapper(io.BytesIO())
        with mock.patch.multiple(sys, stdin=SimpleNamespace(buffer=io.BytesIO(stdin)), stderr=err, stdout=out):
            try:
                main(["generate", *map(str, args)])
                found = 0
            except SystemExit as stop:
                found = stop.code or 0
        assert found == code, err.getvalue()
        assert "Traceback" not in err.getvalue()
        return err.getvalue()

    return call
