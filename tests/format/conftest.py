"""Lets these tests import their own helpers and the shared ones, under any import mode."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "golden"), str(HERE.parent)]

settings.register_profile("format", deadline=None)  # the first call of a kernel may compile it
settings.load_profile("format")


@pytest.fixture(autouse=True, scope="module")
def priors_here():
    """The prior of the golden streams is found, in these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECDC_PRIORS", str(HERE / "golden"))
        yield
