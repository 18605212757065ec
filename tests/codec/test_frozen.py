"""The token space of a shipped model is a contract: its codebooks stay as they are."""

import ecdc
import pytest

FROZEN = {"nano-24k": "f0767832c459dabaf559c49152c4223b3a6ab2f79070cc0546f7daf1d40eca0d"}


@pytest.mark.parametrize("name", FROZEN)
def test_codebooks_stay(name):
    assert ecdc.load(name).token_space.hex() == FROZEN[name]
