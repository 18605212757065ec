import doctest
import importlib.util
import os
import subprocess
import sys

import ecdc.format


def run(script: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    return result.stdout


def test_opening_a_file_loads_no_model_and_no_compiler():
    script = """
import io, sys
from ecdc.format import Header, Reader, v0
h = Header(
    codec="x", token_space=bytes(32), sample_rate=1, hop_length=1, codebook_size=2, max_codebooks=1, original_sample_rate=1
)
Reader(io.BytesIO(h.to_bytes())).n_frames
print([name for name in ("torch", "torchaudio", "numba", "soundfile", "ecdc.codec") if name in sys.modules])
"""
    assert run(script) == "[]\n"


def test_the_example_of_the_package_runs():
    result = doctest.testmod(ecdc.format)
    assert result.attempted and not result.failed


def test_every_public_name_is_there():
    for name in ecdc.format.__all__:
        assert getattr(ecdc.format, name).__name__ == name
    assert importlib.util.find_spec("ecdc.format.SPEC") is None
    assert not hasattr(ecdc.format, "nothing")
